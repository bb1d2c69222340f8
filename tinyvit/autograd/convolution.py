"""Operations that slide a window over feature maps (B, H, W, C): convolution and max pool.

Both take the windows apart in the same way: for each place (i, j) in the window, the elements that stand there in all
windows are a strided view of the padded map. Padding is "SAME": an output of ceil(H / stride) x ceil(W / stride),
what is to be added on both sides where it is even, and one more at the end where it is odd.
"""

import math

from tinyvit.autograd.function import Function
from tinyvit.autograd.tensor import Tensor
from tinyvit.device import array_module


class Windows:
    """The windows of ``size`` (rows, columns) that start every ``stride`` elements of maps of ``shape`` (B, H, W, C).

    Attributes:
        out: (B, H', W'), how many windows there are.
    """

    def __init__(self, shape: tuple[int, ...], size: tuple[int, int], stride: int):
        self.shape, self.size, self.stride = shape, size, stride
        self.out = (shape[0], *(-(-length // stride) for length in shape[1:3]))
        self.padding = [(0, 0)] * 4
        for axis in (1, 2):
            total = max((self.out[axis] - 1) * stride + size[axis - 1] - shape[axis], 0)
            self.padding[axis] = (total // 2, total - total // 2)

    def padded(self, x, value: float):
        """x (B, H, W, C) with ``value`` around it."""
        return array_module(x).pad(x, self.padding, constant_values=value) if any(map(any, self.padding)) else x

    def cropped(self, padded):
        """The (B, H, W, C) inside of what :meth:`padded` gave."""
        (top, _), (left, _) = self.padding[1:3]
        return padded[:, top : top + self.shape[1], left : left + self.shape[2]]

    def views(self, padded) -> list:
        """For each place in the window, row by row, the view (B, H', W', C) of what stands there in all windows."""
        (rows, columns), (_, height, width) = self.size, self.out
        last_row, last_column = (height - 1) * self.stride + 1, (width - 1) * self.stride + 1
        return [
            padded[:, i : i + last_row : self.stride, j : j + last_column : self.stride]
            for i in range(rows)
            for j in range(columns)
        ]


class Convolution(Function):
    """Each window, flattened as (row, column, channel), times one matrix ("im2col")."""

    def __init__(self, stride: int):
        self.stride = stride

    def forward(self, x, kernel):
        self.x, self.kernel = x, kernel
        self.windows = Windows(x.shape, kernel.shape[:2], self.stride)
        return (self.flattened(x) @ self.matrix).reshape(*self.windows.out, kernel.shape[3])

    def backward(self, dout):
        dout = dout.reshape(-1, dout.shape[3])
        # The windows are taken apart again rather than kept: they are 9 times the size of x where the window is 3 x 3.
        dkernel = (self.flattened(self.x).T @ dout).reshape(self.kernel.shape) if self.needs[1] else None
        return self.dx(dout @ self.matrix.T) if self.needs[0] else None, dkernel

    @property
    def matrix(self):
        """The kernel as (rows columns C, D)."""
        return self.kernel.reshape(-1, self.kernel.shape[3])

    def flattened(self, x):
        """The windows (B H' W', rows columns C) of x (B, H, W, C)."""
        views = self.windows.views(self.windows.padded(x, 0))
        joined = array_module(x).concatenate(views, axis=3) if len(views) > 1 else views[0]
        return joined.reshape(-1, joined.shape[3])

    def dx(self, dwindows):
        """The windows' gradients (B H' W', rows columns C), added up where windows overlap: (B, H, W, C)."""
        shape, padding = self.windows.shape, self.windows.padding
        lengths = [length + sum(added) for length, added in zip(shape, padding, strict=True)]
        padded = array_module(dwindows).zeros(lengths, dtype=dwindows.dtype)
        dwindows = dwindows.reshape(*self.windows.out, math.prod(self.windows.size), shape[3])
        for place, view in enumerate(self.windows.views(padded)):
            view += dwindows[:, :, :, place]
        return self.windows.cropped(padded)


class MaxPool(Function):
    """The largest of each window; where several are equal, the first gets the gradient."""

    def __init__(self, size: int, stride: int):
        self.size, self.stride = size, stride

    def forward(self, x):
        xp = array_module(x)
        self.windows = Windows(x.shape, (self.size, self.size), self.stride)
        padded = self.windows.padded(x, -xp.inf)
        self.padded_shape = padded.shape
        first, *others = self.windows.views(padded)
        out, self.place = first.copy(), xp.zeros(first.shape, xp.int16)
        for place, view in enumerate(others, start=1):
            self.place[view > out] = place
            xp.maximum(out, view, out=out)
        return out

    def backward(self, dout):
        padded = array_module(dout).zeros(self.padded_shape, dtype=dout.dtype)
        for place, view in enumerate(self.windows.views(padded)):
            view += dout * (self.place == place)
        return (self.windows.cropped(padded),)


def convolution(x: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    """x (B, H, W, C), padded with zeros ("SAME"), and a kernel (rows, columns, C, D) -> (B, H', W', D).

    Raises:
        ValueError: shapes that are not these.
    """
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[3] != kernel.shape[2]:
        raise ValueError(f"convolution needs (B, H, W, C) and (rows, columns, C, D), not {x.shape} and {kernel.shape}")
    return Convolution(stride)(x, kernel)


def max_pool(x: Tensor, size: int, stride: int) -> Tensor:
    """The largest number in each window of size x size of x (B, H, W, C), padded ("SAME") -> (B, H', W', C).

    Raises:
        ValueError: x of another shape.
    """
    if x.ndim != 4:
        raise ValueError(f"max_pool needs (B, H, W, C), not {x.shape}")
    return MaxPool(size, stride)(x)
