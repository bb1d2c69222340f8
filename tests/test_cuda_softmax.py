"""The CUDA kernels of softmax against the float64 oracle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_device import PRECISIONS, close, rounded

from tinyvit.kernels import cpu
from tinyvit.kernels.gpu import softmax

SHAPES = st.tuples(st.integers(1, 40), st.sampled_from([1, 2, 10, 17, 64, 65, 197, 1000]))


@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=25)
@given(SHAPES, st.sampled_from([0, 1, 30]), st.integers(0, 2**32))
def test_forward_and_backward(device, precision, shape, spread, seed):
    random = np.random.default_rng(seed)
    x, dout = rounded(random.normal(size=shape) * spread, precision), rounded(random.normal(size=shape), precision)
    y = device.in_every_order(softmax.softmax_forward, device.to(x))
    close(device.back(y), cpu.softmax.softmax_forward(x.astype(np.float64)), PRECISIONS[precision])
    dx = device.in_every_order(softmax.softmax_backward, device.to(dout), y)
    assert y.dtype == dx.dtype == x.dtype
    # Relative to y dout, of which dx is a difference: with one class it is 0.
    expected = cpu.softmax.softmax_backward(dout.astype(np.float64), device.back(y))
    error = np.abs(device.back(dx) - expected).max()
    assert error <= PRECISIONS[precision] * np.abs(device.back(y) * device.back(device.to(dout))).max()


def test_large_numbers_and_minus_infinity(device):
    x = np.array([[1000, 999, -1000, 998], [-np.inf, 0, -np.inf, 0], [-3e38, -3e38, -3e38, -3e38]], np.float32)
    y = device.back(softmax.softmax_forward(device.to(x)))
    close(y, cpu.softmax.softmax_forward(x.astype(np.float64)), 1e-6)


def test_not_a_number_comes_through(device):
    x = np.zeros((2, 70), np.float32)
    x[1, 69] = np.nan
    y = device.back(softmax.softmax_forward(device.to(x)))
    assert np.isfinite(y[0]).all() and np.isnan(y[1]).all()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_in_place_and_views(device, precision):
    x = rounded(np.random.default_rng(0).normal(size=(3, 5, 64)), precision)
    on_device = device.to(x)
    view = on_device.transpose(1, 0, 2)
    expected = cpu.softmax.softmax_forward(x.astype(np.float64))
    close(device.back(softmax.softmax_forward(view)), expected.transpose(1, 0, 2), PRECISIONS[precision])
    assert softmax.softmax_forward(on_device, out=on_device) is on_device
    close(device.back(on_device), expected, PRECISIONS[precision])


def test_an_out_of_another_shape_is_refused(device):
    x = device.to(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"^out has shape \(3,\), expected \(2, 3\)$"):
        softmax.softmax_forward(x, out=x[0])
