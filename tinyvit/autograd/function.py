"""Function, one differentiable operation, and the backward walk over the graph that Functions leave behind."""

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

    Calling an instance on Tensors runs ``forward`` and records the instance as the result's creator, so each use needs
    an instance of its own. ``self.needs[i]`` says whether input i wants a gradient, so either method can leave out
    work.
    """

    broadcasts = False
    """True for operations whose inputs broadcast as in NumPy; the walk then sums each gradient back to its
    input's shape, so that no ``backward`` has to."""

    inputs: "tuple[Tensor, ...] | None"
    needs: tuple[bool, ...]

    def __call__(self, *inputs: "Tensor") -> "Tensor":
        if "inputs" in self.__dict__:
            raise RuntimeError(f"this {type(self).__name__} was used before: each use needs an instance of its own")
        record = recording()
        self.needs = tuple(record and tensor.requires_grad for tensor in inputs)
        out = type(inputs[0])(self.forward(*(tensor.data for tensor in inputs)))
        if any(self.needs):
            self.inputs = inputs
            out.requires_grad = True
            out.creator = self
        return out


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
    arrived = {output: _first_gradient(output, cotangent)}
    order = _topological_order(output)
    while order:
        # Popping lets each tensor, and what its creator saved, be freed as soon as the walk has passed it.
        tensor = order.pop()
        gradient = arrived.pop(tensor)
        function = tensor.creator
        if function is None:
            leaves[tensor] = array_module(tensor.data).asarray(gradient)  # NumPy makes scalars of 0-d arrays
            continue
        parts = function.backward(gradient)
        if not isinstance(parts, tuple) or len(parts) != len(function.inputs):
            given = f"{len(parts)} gradients" if isinstance(parts, tuple) else type(parts).__name__
            raise RuntimeError(
                f"{type(function).__name__}.backward gave {given}: it must give a tuple of {len(function.inputs)}, "
                "one gradient for each input"
            )
        for source, needed, part in zip(function.inputs, function.needs, parts, strict=True):
            if not needed:
                continue
            part = _checked(part, source, function)
            # A new sum each time: a gradient may be shared by several tensors, so it is never changed in place.
            arrived[source] = arrived[source] + part if source in arrived else part
        function.__dict__.clear()
        function.inputs = None
    return leaves


def _topological_order(output: "Tensor") -> "list[Tensor]":
    """Every tensor that needs a gradient, each after all it was made from. Depth first, with a list for a stack:
    a deep graph would overflow Python's own."""
    order, seen, stack = [], set(), [(output, False)]
    while stack:
        tensor, inputs_done = stack.pop()
        if inputs_done:
            order.append(tensor)
        elif tensor not in seen:
            seen.add(tensor)
            stack.append((tensor, True))
            if tensor.creator is not None:
                if tensor.creator.inputs is None:
                    raise RuntimeError(
                        "this graph was already freed by a backward pass: run the forward computation again"
                    )
                needs = tensor.creator.needs
                stack.extend(
                    (source, False) for source, needed in zip(tensor.creator.inputs, needs, strict=True) if needed
                )
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


def _checked(gradient, source: "Tensor", function: Function):
    """The gradient for ``source``, summed back to its shape where it was broadcast, and proved to fit."""
    name = type(function).__name__
    if gradient is None:
        raise RuntimeError(f"{name}.backward gave no gradient for an input that requires one")
    if function.broadcasts and gradient.shape != source.shape:
        gradient = _unbroadcast(gradient, source.shape)
    if gradient.shape != source.shape or gradient.dtype != source.dtype:
        hint = "" if gradient.dtype == source.dtype else "; was it mixed with another type? Convert that with astype"
        raise RuntimeError(
            f"{name}.backward gave a gradient of shape {gradient.shape} and type {gradient.dtype} "
            f"for an input of shape {source.shape} and type {source.dtype}{hint}"
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
