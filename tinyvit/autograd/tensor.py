"""Tensor: an array that remembers how it was made."""

from __future__ import annotations

import numpy as np

from tinyvit.autograd.function import Function, Part, leaf_gradients
from tinyvit.device import array_module, is_array, is_floating, to_numpy


class Tensor:
    """An array (NumPy or CuPy) with a place in a graph of operations.

    Args:
        data: an array, or anything NumPy can make one of; Python floats and lists of them become float32.
        requires_grad: True for a leaf whose gradient is wanted, such as a parameter.

    Attributes:
        data: the array itself.
        grad: after ``backward``, the gradient (an array of the same shape); kept on leaves only. Not to be changed in
            place: several leaves may share one array.
        creator: the Function (or Part of its results) that made this tensor, None for a leaf.

    Raises:
        TypeError: ``requires_grad`` for numbers that are not floating-point.
    """

    __slots__ = ("__weakref__", "creator", "data", "grad", "requires_grad")
    __array_ufunc__ = None  # makes `array * tensor` come to Tensor.__rmul__

    def __init__(self, data, requires_grad: bool = False):
        if not is_array(data):
            given = data
            data = np.asarray(given)
            if data.dtype == np.float64 and not isinstance(given, np.generic):
                data = data.astype(np.float32)
        if requires_grad and not is_floating(data.dtype):
            raise TypeError(f"only floating-point tensors can require a gradient, not {data.dtype}")
        self.data = data
        self.requires_grad = requires_grad
        self.grad = None
        self.creator: Function | Part | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def size(self) -> int:
        return self.data.size

    @property
    def dtype(self):
        return self.data.dtype

    @property
    def T(self) -> Tensor:
        return self.transpose()

    def __len__(self) -> int:
        return len(self.data)

    def __bool__(self) -> bool:
        return bool(self.data)

    def __array__(self, dtype=None, copy=None):
        raise TypeError("a Tensor is not an array, and making one of it would cut it off the graph: take its .data")

    def __repr__(self) -> str:
        values = self.shape
        if self.size <= 100:
            values = np.array2string(to_numpy(self.data), separator=", ", prefix="Tensor(")
        origin = f", creator={type(self.creator).__name__}" if self.creator else ""
        return f"Tensor({values}, {self.dtype}{origin}{', requires_grad' if self.requires_grad else ''})"

    def item(self) -> float:
        """The one number in a tensor of one element."""
        return self.data.item()

    def detach(self) -> Tensor:
        """The same data, cut off from the graph."""
        return Tensor(self.data)

    def backward(self, cotangent=None) -> None:
        """Add the gradient of this tensor to ``.grad`` of every leaf it depends on, and free the graph.

        See :func:`tinyvit.autograd.gradients` for the arguments and errors, and for a form that stores nothing.
        """
        for leaf, gradient in leaf_gradients(self, cotangent).items():
            leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient

    # Each operator is one line, so that reading `x * y` leads straight to the Function that does it.

    def __add__(self, other):
        return elementwise.add(self, other)

    def __sub__(self, other):
        return elementwise.subtract(self, other)

    def __mul__(self, other):
        return elementwise.multiply(self, other)

    def __truediv__(self, other):
        return elementwise.divide(self, other)

    def __pow__(self, exponent: float):
        return elementwise.power(self, exponent)

    def __neg__(self):
        return elementwise.negative(self)

    def __matmul__(self, other):
        return matmul.matmul(self, other)

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other):
        return elementwise.subtract(as_tensor(other, self), self)

    def __rtruediv__(self, other):
        return elementwise.divide(as_tensor(other, self), self)

    def __rmatmul__(self, other):
        return matmul.matmul(as_tensor(other, self), self)

    def __getitem__(self, index):
        return shapes.getitem(self, index)

    def reshape(self, *shape: int) -> Tensor:
        return shapes.reshape(self, shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape)

    def transpose(self, *axes: int) -> Tensor:
        return shapes.transpose(self, axes[0] if len(axes) == 1 and isinstance(axes[0], tuple) else axes or None)

    def sum(self, axis=None, keepdims: bool = False) -> Tensor:
        return reductions.sum(self, axis, keepdims)

    def mean(self, axis=None, keepdims: bool = False) -> Tensor:
        return reductions.mean(self, axis, keepdims)

    def max(self, axis=None, keepdims: bool = False) -> Tensor:
        return reductions.amax(self, axis, keepdims)

    def exp(self) -> Tensor:
        return elementwise.exp(self)

    def log(self) -> Tensor:
        return elementwise.log(self)

    def sqrt(self) -> Tensor:
        return elementwise.sqrt(self)

    def tanh(self) -> Tensor:
        return elementwise.tanh(self)


def as_tensor(value, like: Tensor | None = None) -> Tensor:
    """``value`` as a Tensor; a Python number takes the type (if floating-point) and the device of ``like``."""
    if isinstance(value, Tensor):
        return value
    if like is not None and not is_array(value) and is_floating(like.dtype):
        return Tensor(array_module(like.data).asarray(value, dtype=like.dtype))
    return Tensor(value)


# The operations build on Tensor and Tensor's operators on them; importing them last closes the circle.
from tinyvit.autograd import elementwise, matmul, reductions, shapes  # noqa: E402
