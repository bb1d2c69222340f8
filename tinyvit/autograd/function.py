"""Function, one differentiable operation, and the backward walk over the graph that Functions leave behind.

The graph is made of Functions, each holding the Functions that made its inputs, and of the leaves. Tensors in between
are no part of it, so their data is freed unless a Function kept it: a sum, for one, keeps nothing. Where a Function has
several results, a Part stands between it and each.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tinyvit.device import array_module

if TYPE_CHECKING:
    from tinyvit.autograd.tensor import Tensor

# Per thread, because several workers run their own graphs over shared parameters at the same time.
_mode = threading.local()


def recording() -> bool:
    """True while operations are recorded for a backward pass (the default)."""
    return getattr(_mode, "recording", True)


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Within this block (and this thread) nothing is recorded: less memory, and no gradients."""
    before = recording()
    _mode.recording = False
    try:
        yield
    finally:
        _mode.recording = before


class Function:
    """One differentiable operation on arrays.

    A subclass has two methods that stand together:

    - ``forward(*arrays) -> array`` computes the result and keeps on ``self`` what backward needs;
    - ``backward(dout) -> tuple`` gets the gradient of the result, of the result's shape, and returns one gradient
      per input, in order, None where there is none.

    Where ``forward`` returns a tuple of arrays, the call gives a tuple of Tensors, and ``backward`` gets a gradient for
    each, None for those that nothing depends on.

    Calling an instance on Tensors runs ``forward`` and records the instance as the result's creator, so each use needs
    an instance of its own. ``self.needs[i]`` says whether input i wants a gradient, so either method can leave out
    work.
    """

    broadcasts = False
    """True for operations whose inputs broadcast as in NumPy; the walk then sums each gradient back to its
    input's shape, so that no ``backward`` has to."""

    needs: tuple[bool, ...]
    sources: "tuple[Function | Part | Tensor | None, ...] | None"
    """What made each input: a Function (or a Part of its results), the input itself if it is a leaf, None if it needs
    no gradient."""
    expected: tuple[tuple, ...]
    """Shape and type of each input."""

    def __call__(self, *inputs: "Tensor"):
        if "sources" in self.__dict__:
            raise RuntimeError(f"this {type(self).__name__} was used before: each use needs an instance of its own")
        record = recording()
        self.needs = tuple(record and tensor.requires_grad for tensor in inputs)
        results = self.forward(*(tensor.data for tensor in inputs))
        several = isinstance(results, tuple)
        outs = tuple(type(inputs[0])(result) for result in (results if several else (results,)))
        if any(self.needs):
            self.sources = tuple(tensor.creator or tensor if tensor.requires_grad else None for tensor in inputs)
            self.expected = tuple((tensor.shape, tensor.dtype) for tensor in inputs)
            for index, out in enumerate(outs):
                out.requires_grad = True
                out.creator = Part(self, index, len(outs)) if several else self
        return outs if several else outs[0]


class Part:
    """One of the ``count`` results of a Function, as a node of the graph."""

    def __init__(self, function: Function, index: int, count: int):
        self.sources, self.index, self.count = (function,), index, count


def gradients(output: "Tensor", inputs: "Sequence[Tensor]", cotangent=None) -> list:
    """The gradient of ``output`` with respect to each of ``inputs``, as arrays; zeros where it does not depend on one.

    Nothing is stored on any Tensor, so threads that share parameters can each run their own graph. The graph is
    freed on the way.

    Args:
        output: the Tensor to differentiate.
        inputs: leaves that require a gradient, such as a model's parameters.
        cotangent: the gradient arriving at ``output``, of its shape; 1 by default, for an output of one element.

    Raises:
        RuntimeError: the graph was already freed by an earlier backward pass, or nothing was recorded.
        ValueError: ``output`` has several elements and no cotangent is given, or its shape is wrong; one of ``inputs``
            was made by an operation or requires no gradient.
    """
    for position, tensor in enumerate(inputs):
        if tensor.creator is not None or not tensor.requires_grad:
            raise ValueError(f"input {position}, of shape {tensor.shape}, is no leaf that requires a gradient")
    found = leaf_gradients(output, cotangent)
    return [
        found[tensor] if tensor in found else array_module(tensor.data).zeros_like(tensor.data) for tensor in inputs
    ]


def leaf_gradients(output: "Tensor", cotangent=None) -> "dict[Tensor, object]":
    """The gradient of ``output`` for every leaf it depends on. See :func:`gradients`."""
    if not output.requires_grad:
        raise RuntimeError("nothing to differentiate: no input of this tensor requires a gradient (or no_grad was on)")
    leaves: dict[Tensor, object] = {}
    end = output.creator or output
    arrived = {end: _first_gradient(output, cotangent)}
    order = _topological_order(end)
    while order:
        # Popping lets each Function, and what it saved, be freed as soon as the walk has passed it.
        node = order.pop()
        gradient = arrived.pop(node)
        if isinstance(node, Part):
            arrived.setdefault(node.sources[0], [None] * node.count)[node.index] = gradient
            continue
        if not isinstance(node, Function):
            leaves[node] = array_module(node.data).asarray(gradient)  # NumPy makes scalars of 0-d arrays
            continue
        parts = node.backward(*gradient) if isinstance(gradient, list) else node.backward(gradient)
        if not isinstance(parts, tuple) or len(parts) != len(node.sources):
            given = f"{len(parts)} gradients" if isinstance(parts, tuple) else type(parts).__name__
            raise RuntimeError(
                f"{type(node).__name__}.backward gave {given}: it must give a tuple of {len(node.sources)}, "
                "one gradient for each input"
            )
        for source, (shape, dtype), part in zip(node.sources, node.expected, parts, strict=True):
            if source is None:
                continue
            part = _checked(part, shape, dtype, node)
            # A new sum each time: a gradient may be shared by several inputs, so it is never changed in place.
            arrived[source] = arrived[source] + part if source in arrived else part
        node.__dict__.clear()
        node.sources = None
    return leaves


def _topological_order(end: "Function | Part | Tensor") -> "list[Function | Part | Tensor]":
    """Every Function, Part and leaf that the end depends on, each after all its sources. Depth first, with a list for a
    stack: a deep graph would overflow Python's own."""
    order, seen, stack = [], set(), [(end, False)]
    while stack:
        node, sources_done = stack.pop()
        if sources_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            if isinstance(node, Function | Part):
                if node.sources is None:
                    raise RuntimeError(
                        "this graph was already freed by a backward pass: run the forward computation again"
                    )
                stack.extend((source, False) for source in node.sources if source is not None)
    return order


def _first_gradient(output: "Tensor", cotangent):
    xp = array_module(output.data)
    if cotangent is None:
        if output.data.size != 1:
            raise ValueError(
                f"a cotangent is needed for an output of shape {output.shape}: only a scalar has a default"
            )
        return xp.ones_like(output.data)
    cotangent = xp.asarray(cotangent, dtype=output.dtype)
    if cotangent.shape != output.shape:
        raise ValueError(f"the cotangent has shape {cotangent.shape}, the output {output.shape}: they must be equal")
    return cotangent


def _checked(gradient, shape: tuple[int, ...], dtype, function: Function):
    """The gradient for an input, summed back to its shape where it was broadcast, and proved to fit."""
    name = type(function).__name__
    if gradient is None:
        raise RuntimeError(f"{name}.backward gave no gradient for an input that requires one")
    if function.broadcasts and gradient.shape != shape:
        gradient = _unbroadcast(gradient, shape)
    if gradient.shape != shape or gradient.dtype != dtype:
        hint = "" if gradient.dtype == dtype else "; was it mixed with another type? Convert that with astype"
        raise RuntimeError(
            f"{name}.backward gave a gradient of shape {gradient.shape} and type {gradient.dtype} "
            f"for an input of shape {shape} and type {dtype}{hint}"
        )
    return gradient


def _unbroadcast(gradient, shape: tuple[int, ...]):
    """Sum ``gradient`` over the axes along which an array of ``shape`` was repeated."""
    added = gradient.ndim - len(shape)
    if added < 0:
        return gradient  # cannot have been broadcast from ``shape``; the check that follows says so
    repeated = tuple(range(added)) + tuple(
        axis + added for axis, length in enumerate(shape) if length == 1 and gradient.shape[axis + added] != 1
    )
    summed = gradient.sum(axis=repeated, keepdims=True)
    return summed.reshape(summed.shape[added:])
