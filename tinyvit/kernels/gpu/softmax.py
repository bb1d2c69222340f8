"""Softmax over the last axis, on the GPU: see softmax.cu."""

from tinyvit.device import array_module
from tinyvit.kernels.gpu.launch import launch, storage
from tinyvit.kernels.gpu.shapes import expect_shape
from tinyvit.kernels.gpu.vectors import vectors

WARPS = 4  # rows that a block works on, one each


def softmax_forward(x, out=None):
    """exp(x) / sum(exp(x)) over the last axis of x (..., K); into ``out`` where given (it may be x itself).

    Raises:
        TypeError: x is neither float32 nor bfloat16, or out is not of x's type and contiguous.
        ValueError: out has another shape than x.
    """
    xp = array_module(x)
    expect_shape(x.shape, out=out)
    x = xp.ascontiguousarray(x)
    y = xp.empty_like(x) if out is None else out
    _launch("softmax_forward", x, y)
    return y


def softmax_backward(dout, y):
    """dx = y (dout - sum(dout y)) for y = softmax(x), all (..., K).

    Raises:
        TypeError: dout is neither float32 nor bfloat16, or y is of another type.
        ValueError: y has another shape than dout.
    """
    xp = array_module(dout)
    expect_shape(dout.shape, y=y)
    dout, y = xp.ascontiguousarray(dout), xp.ascontiguousarray(y)
    dx = xp.empty_like(dout)
    _launch("softmax_backward", dout, y, dx)
    return dx


def _launch(kernel: str, *arrays) -> None:
    width = arrays[0].shape[-1]
    rows = arrays[0].size // width
    grid = (max(1, -(-rows // WARPS)),)
    launch("softmax", kernel, grid, (32, WARPS), (*arrays, rows, width), **storage(arrays[0]), **vectors(*arrays))
