"""How much each kernel has to do, from the shapes that it is given: FLOP, and bytes that must move.

FLOP: a multiply-add of a matrix product is two; in element-wise work each operation of the formula in the kernel's
docstring is one, exp and tanh too. Products that an implementation computes twice count once.
Bytes: each array that goes in or comes out, once. A chain of steps over blocks that stay in the cache moves no more.
"""

import inspect
from collections.abc import Callable
from typing import NamedTuple

from tinyvit.device import is_array


class Work(NamedTuple):
    """What a call, or several, had to do."""

    flop: int
    bytes: int

    @property
    def intensity(self) -> float:
        """FLOP for each byte."""
        return self.flop / self.bytes


def work_of(name: str, kernel: Callable, args: tuple, kwargs: dict, result) -> Work:
    """The work of one call of a kernel of the table, from its arguments and its result."""
    given = inspect.signature(kernel).bind(*args, **kwargs)
    given.apply_defaults()
    arguments = given.arguments
    results = result if isinstance(result, tuple) else (result,)
    moved = [value for value in (*arguments.values(), *results) if is_array(value)]
    moved += [arguments[changed] for changed in CHANGED_IN_PLACE.get(name, ())]  # read, and written too
    # A kernel of single numbers, such as clip_scale, moves no arrays: one number, since FLOP are divided by bytes.
    return Work(FLOP[name](**arguments), sum(array.nbytes for array in moved) or 4)


CHANGED_IN_PLACE = {"adamw_step": ("parameter", "mean", "variance"), "sgd_step": ("parameter", "velocity")}
"""Kernel -> arguments that are its results as well."""


def _each(count: int) -> Callable[..., int]:
    """So many FLOP for each number of the first argument."""
    return lambda **arguments: count * next(iter(arguments.values())).size


def _linear_forward(x, weight, **_) -> int:
    rows, (inputs, outputs) = x.size // x.shape[-1], weight.shape
    return 2 * rows * inputs * outputs + rows * outputs


def _linear_backward(dout, weight, needs_dx=True, **_) -> int:
    rows, (inputs, outputs) = dout.size // dout.shape[-1], weight.shape
    products = 2 if needs_dx else 1
    return products * 2 * rows * inputs * outputs + rows * outputs


def _mlp_forward(x, weight1, form, for_backward, **_) -> int:
    rows, (width, hidden) = x.size // x.shape[-1], weight1.shape
    return 2 * 2 * rows * width * hidden + rows * (width + hidden) + rows * hidden * GELU[form][bool(for_backward)]


def _mlp_backward(dout, weight1, **_) -> int:
    rows, (width, hidden) = dout.size // dout.shape[-1], weight1.shape
    # Four products; the slope and the first bias's gradient; the second's.
    return 4 * 2 * rows * width * hidden + 2 * rows * hidden + rows * width


def _attention(qkv, heads, asking, products, each_weight) -> int:
    batch, tokens, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    return products * 2 * batch * asking * tokens * width + each_weight * batch * heads * asking * tokens


def _attention_forward(qkv, heads, asking, **_) -> int:
    # Scale and softmax: largest, subtract, exp, sum, divide.
    return _attention(qkv, heads, asking, products=2, each_weight=6)


def _attention_backward(dout, qkv, heads, **_) -> int:
    # dS = A (dA - sum), scaled; and for each output number, the multiply-add of sum(dout out).
    return _attention(qkv, heads, dout.shape[1], products=4, each_weight=3) + 2 * dout.size


def _attention_weights(qkv, heads, **_) -> int:
    return _attention(qkv, heads, qkv.shape[1], products=1, each_weight=6)


GELU = {"tanh": {False: 8, True: 14}, "exact": {False: 24, True: 27}}
"""Form -> with its derivative or not -> FLOP a number."""

FLOP: dict[str, Callable[..., int]] = {
    "adamw_step": _each(15),
    "add_layer_norm_forward": _each(8),
    "add_layer_norm_backward": lambda dy, **_: 12 * dy.size,
    "attention_forward": _attention_forward,
    "attention_backward": _attention_backward,
    "attention_weights": _attention_weights,
    "clip_scale": lambda **_: 4,
    "dropout_forward": _each(2),
    "dropout_backward": _each(2),
    "erf": _each(20),
    "gelu_forward": lambda x, form, for_backward, **_: x.size * GELU[form][bool(for_backward)],
    "gelu_backward": _each(1),
    "layer_norm_forward": _each(7),
    "layer_norm_backward": _each(11),
    "linear_forward": _linear_forward,
    "linear_backward": _linear_backward,
    "mlp_forward": _mlp_forward,
    "mlp_backward": _mlp_backward,
    "sgd_step": _each(7),
    "sigmoid_cross_entropy_forward": _each(9),
    "sigmoid_cross_entropy_backward": _each(6),
    "softmax_forward": _each(5),
    "softmax_backward": _each(4),
    "softmax_cross_entropy_forward": _each(12),
    "softmax_cross_entropy_backward": _each(4),
    "squared_norm": _each(2),
}
"""Kernel -> a function of its arguments, by their names, that counts its FLOP."""
