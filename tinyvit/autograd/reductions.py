"""Operations that make an axis disappear: sum, mean, max."""

from tinyvit.autograd.function import Function
from tinyvit.autograd.tensor import Tensor
from tinyvit.device import array_module


class Reduction(Function):
    """What sum, mean and max share: which axes go, and how a gradient gets them back."""

    def __init__(self, axis: int | tuple[int, ...] | None, keepdims: bool):
        self.axis, self.keepdims = axis, keepdims

    def with_axes(self, reduced, shape: tuple[int, ...]):
        """``reduced`` with the removed axes put back as length 1, so that it broadcasts against ``shape``."""
        if self.axis is None:
            return reduced.reshape((1,) * len(shape))
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        gone = {axis % len(shape) for axis in axes}
        return reduced.reshape(tuple(1 if i in gone else length for i, length in enumerate(shape)))


class Sum(Reduction):
    def forward(self, x):
        self.shape = x.shape
        return x.sum(axis=self.axis, keepdims=self.keepdims)

    def backward(self, dout):
        return (array_module(dout).broadcast_to(self.with_axes(dout, self.shape), self.shape),)


class Mean(Reduction):
    def forward(self, x):
        self.shape = x.shape
        out = x.mean(axis=self.axis, keepdims=self.keepdims)
        self.count = x.size // max(out.size, 1)
        return out

    def backward(self, dout):
        return (array_module(dout).broadcast_to(self.with_axes(dout / self.count, self.shape), self.shape),)


class Max(Reduction):
    """The largest; where several are equal, they share the gradient."""

    def forward(self, x):
        out = x.max(axis=self.axis, keepdims=self.keepdims)
        largest = (x == self.with_axes(out, x.shape)).astype(x.dtype)
        self.share = largest / largest.sum(axis=self.axis, keepdims=True)
        return out

    def backward(self, dout):
        return (self.with_axes(dout, self.share.shape) * self.share,)


def sum(x: Tensor, axis=None, keepdims: bool = False) -> Tensor:
    """The sum over ``axis`` (an int, a tuple, or None for all)."""
    return Sum(axis, keepdims)(x)


def mean(x: Tensor, axis=None, keepdims: bool = False) -> Tensor:
    """The mean over ``axis`` (an int, a tuple, or None for all)."""
    return Mean(axis, keepdims)(x)


def amax(x: Tensor, axis=None, keepdims: bool = False) -> Tensor:
    """The largest element along ``axis``; equal ones share the gradient."""
    return Max(axis, keepdims)(x)
