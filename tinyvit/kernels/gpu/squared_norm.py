"""The sum of squares, from which the gradient's norm is made: see squared_norm.cu."""

from tinyvit.device import array_module
from tinyvit.kernels.gpu.launch import launch, storage
from tinyvit.kernels.gpu.total import total
from tinyvit.kernels.gpu.vectors import vector_length, vectors

THREADS = 256
MOST_BLOCKS = 8 * 132  # as many as the 132 multiprocessors of an H100 hold


def squared_norm(x):
    """The sum of the squares of all elements, added up in float32: a float32 array of no axes, so that nothing waits.

    Raises:
        TypeError: x is neither float32 nor bfloat16.
    """
    xp = array_module(x)
    flat = xp.ascontiguousarray(x).reshape(-1)
    blocks = max(1, min(-(-flat.size // (THREADS * vector_length(flat))), MOST_BLOCKS))
    partials = xp.empty(blocks, xp.float32)
    arguments = (flat, partials, flat.size)
    launch("squared_norm", "squared_norm", (blocks,), (THREADS,), arguments, **storage(flat), **vectors(flat))
    return total(partials)
