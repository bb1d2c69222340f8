"""The error function on the GPU: see erf.cu."""

from tinyvit.device import array_module
from tinyvit.kernels.gpu.launch import launch, storage
from tinyvit.kernels.gpu.vectors import vector_length, vectors

THREADS = 256


def erf(x):
    """erf(x) = 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x, element by element, in x's type and shape.

    Raises:
        TypeError: x is neither float32 nor bfloat16.
    """
    xp = array_module(x)
    flat = xp.ascontiguousarray(x).reshape(-1)
    y = xp.empty_like(flat)
    grid = (max(1, -(-flat.size // (THREADS * vector_length(flat, y)))),)
    launch("erf", "erf_forward", grid, (THREADS,), (flat, y, flat.size), **storage(flat), **vectors(flat, y))
    return y.reshape(x.shape)
