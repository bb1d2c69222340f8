"""Dropout (Srivastava et al., 2014) on the GPU: see dropout.cu."""

from tinyvit.device import array_module
from tinyvit.kernels.gpu.launch import launch, storage
from tinyvit.kernels.gpu.vectors import vectors

THREADS = 256
NUMBERS = 8  # of a thread: for so many one call of the generator suffices
WORD = 2**64


def dropout_forward(x, rate: float, seed: int):
    """Each element zero with probability ``rate``, the others divided by 1 - rate; the mask is the CPU's, bit for bit.

    Args:
        x: float32 or bfloat16.
        seed: from 0 to 2^128 - 1: the generator's key. The mask is a function of it and of the place in x.

    Raises:
        TypeError: x is of another type.
    """
    xp = array_module(x)
    flat = xp.ascontiguousarray(x).reshape(-1)
    y = xp.empty_like(flat)
    grid = (max(1, -(-flat.size // (THREADS * NUMBERS))),)
    arguments = (flat, y, seed % WORD, seed // WORD, rate, 1 / (1 - rate), flat.size)
    launch("dropout", "dropout", grid, (THREADS,), arguments, **storage(flat), **vectors(flat, y))
    return y.reshape(x.shape)


def dropout_backward(dout, rate: float, seed: int):
    """The gradient passes where the element passed: the same mask, drawn again from the same seed.

    Raises:
        TypeError: dout is neither float32 nor bfloat16.
    """
    return dropout_forward(dout, rate, seed)
