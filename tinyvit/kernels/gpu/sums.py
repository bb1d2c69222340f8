"""Sums over the rows of a matrix, for the gradients of biases: see sums.cu."""

from tinyvit.device import array_module
from tinyvit.kernels.gpu.columns import BLOCK, column_grid
from tinyvit.kernels.gpu.launch import launch, storage
from tinyvit.kernels.gpu.vectors import vector_length, vectors


def column_sums(x):
    """The sum over the rows of x (R, D), added up in float32: (D,), of x's type.

    Raises:
        TypeError: x is neither float32 nor bfloat16.
    """
    xp = array_module(x)
    x = xp.ascontiguousarray(x)
    rows, width = x.shape
    grid, rows_a_block = column_grid(rows, width, vector_length(x))
    partials = xp.empty((grid[1], width), xp.float32)
    arguments = (x, partials, rows, width, rows_a_block)
    launch("sums", "partial_column_sums", grid, BLOCK, arguments, **storage(x), **vectors(x))
    return sum_of_partials(partials, x.dtype)


def sum_of_partials(partials, dtype):
    """The sum over the rows of partials (P, D), float32, as numbers of type ``dtype``: (D,).

    The second half of every sum over rows whose first half, a partial sum for each block, is part of another kernel.

    Raises:
        TypeError: ``dtype`` is neither float32 nor bfloat16.
    """
    count, width = partials.shape
    sums = array_module(partials).empty(width, dtype)
    grid = (-(-width // 32),)
    launch("sums", "sum_of_partials", grid, (32, 32), (partials, sums, count, width), **storage(sums))
    return sums
