"""Operations that move elements and compute nothing: reshape, transpose, indexing, concatenate, broadcast."""

from collections.abc import Sequence

from tinyvit.autograd.function import Function
from tinyvit.autograd.tensor import Tensor, as_tensor
from tinyvit.device import array_module


class Reshape(Function):
    def __init__(self, shape: tuple[int, ...]):
        self.new_shape = shape

    def forward(self, x):
        self.shape = x.shape
        return x.reshape(self.new_shape)

    def backward(self, dout):
        return (dout.reshape(self.shape),)


class Transpose(Function):
    def __init__(self, axes: tuple[int, ...] | None):
        self.axes = axes

    def forward(self, x):
        return x.transpose(self.axes)

    def backward(self, dout):
        if self.axes is None:
            return (dout.transpose(),)
        inverse = [0] * len(self.axes)
        for position, axis in enumerate(self.axes):
            inverse[axis] = position  # a negative axis counts from the end, in lists as in NumPy
        return (dout.transpose(inverse),)


class GetItem(Function):
    def __init__(self, index):
        self.index = index

    def forward(self, x):
        self.shape = x.shape
        return x[self.index]

    def backward(self, dout):
        xp = array_module(dout)
        dx = xp.zeros(self.shape, dtype=dout.dtype)
        if _is_basic(self.index):
            dx[self.index] = dout
        else:
            xp.add.at(dx, self.index, dout)  # an index array may name an element twice: its gradients add up
        return (dx,)


class Concatenate(Function):
    def __init__(self, axis: int):
        self.axis = axis

    def forward(self, *arrays):
        self.lengths = [array.shape[self.axis] for array in arrays]
        return array_module(arrays[0]).concatenate(arrays, axis=self.axis)

    def backward(self, dout):
        ends = [sum(self.lengths[: i + 1]) for i in range(len(self.lengths) - 1)]
        return tuple(array_module(dout).split(dout, ends, axis=self.axis))


class BroadcastTo(Function):
    broadcasts = True

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape

    def forward(self, x):
        return array_module(x).broadcast_to(x, self.shape)

    def backward(self, dout):
        return (dout,)


def _is_basic(index) -> bool:
    """True for ints, slices, None and ..., with which no element can be picked twice."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(isinstance(part, int | slice | type(None) | type(...)) for part in parts)


def reshape(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The same elements in another shape; one length may be -1."""
    return Reshape(shape)(x)


def transpose(x: Tensor, axes: tuple[int, ...] | None = None) -> Tensor:
    """The axes in another order; reversed without ``axes``."""
    return Transpose(axes)(x)


def getitem(x: Tensor, index) -> Tensor:
    """x[index], with NumPy's basic and advanced indexing."""
    return GetItem(index)(x)


def concatenate(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Join one or more tensors along an axis they already have."""
    if len(tensors) == 0:
        raise ValueError("concatenate needs at least one tensor")
    return Concatenate(axis)(*(as_tensor(tensor) for tensor in tensors))


def broadcast_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """x repeated to ``shape`` by NumPy's rules, without copying."""
    return BroadcastTo(shape)(x)
