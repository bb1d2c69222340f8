"""Sums over the rows of a matrix, for the gradients of biases: see sums.cu."""

from tinyvit.device import array_module
from tinyvit.kernels.gpu.columns import partial_sums_by_columns
from tinyvit.kernels.gpu.launch import launch, storage


def column_sums(x):
    """The sum over the rows of x (R, D), added up in float32: (D,), of x's type.

    Raises:
        TypeError: x is neither float32 nor bfloat16.
    """
    x = array_module(x).ascontiguousarray(x)
    return sum_of_partials(partial_sums_by_columns("sums", "partial_column_sums", x), x.dtype)


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
