"""The CUDA kernels of sums over rows, and matrix products, against the float64 oracle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_device import PRECISIONS, close, rounded

from tinyvit.kernels.gpu.matrix_product import matrix_product
from tinyvit.kernels.gpu.sums import column_sums, sum_of_partials

WIDTHS = st.sampled_from([1, 7, 8, 64, 65, 197, 256, 264])


@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=15)
@given(st.integers(0, 600), WIDTHS, st.integers(0, 2**32))
def test_column_sums(device, precision, rows, width, seed):
    # Not about zero: the sum of a single column would be the small rest of large numbers, and its error large.
    x = rounded(np.random.default_rng(seed).normal(1, 1, (rows, width)), precision)
    sums = device.in_every_order(column_sums, device.to(x))
    assert sums.dtype == x.dtype
    close(device.back(sums), x.astype(np.float64).sum(axis=0), PRECISIONS[precision])


@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=10)
@given(st.integers(1, 300), WIDTHS, st.integers(0, 2**32))
def test_sum_of_partials(device, precision, count, width, seed):
    partials = np.random.default_rng(seed).normal(1, 1, (count, width)).astype(np.float32)
    sums = device.in_every_order(sum_of_partials, device.to(partials), rounded(partials, precision).dtype)
    close(device.back(sums), partials.astype(np.float64).sum(axis=0), PRECISIONS[precision])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_column_sums_of_views(device, precision):
    """A view with strides, and a contiguous one that begins where 16 bytes cannot be read at once."""
    x = rounded(np.random.default_rng(0).normal(size=(40, 64)), precision)
    transposed, shifted = device.to(x).T, device.to(x).reshape(-1)[1 : 1 + 39 * 64].reshape(39, 64)
    close(device.back(column_sums(transposed)), x.astype(np.float64).sum(axis=1), PRECISIONS[precision])
    expected = x.reshape(-1)[1 : 1 + 39 * 64].reshape(39, 64).astype(np.float64).sum(axis=0)
    close(device.back(column_sums(shifted)), expected, PRECISIONS[precision])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_matrix_product(device, precision, transpose_a, transpose_b):
    random = np.random.default_rng(0)
    a, b = (rounded(random.normal(size=shape), precision) for shape in ((5, 300), (300, 7)))
    given_a, given_b = device.to(a.T if transpose_a else a, b.T if transpose_b else b)
    product = matrix_product(given_a, given_b, transpose_a=transpose_a, transpose_b=transpose_b)
    assert product.dtype == a.dtype
    close(device.back(product), a.astype(np.float64) @ b.astype(np.float64), PRECISIONS[precision])
