"""The CUDA kernels of GELU against the float64 oracle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_device import PRECISIONS, close, rounded

from tinyvit.kernels import cpu
from tinyvit.kernels.gpu.gelu import gelu_backward, gelu_forward


@pytest.mark.parametrize("form", ["tanh", "exact"])
@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=15)
@given(
    st.sampled_from([(), (1,), (17,), (65, 197), (2, 64, 8), (0, 3)]),
    st.sampled_from([0.1, 3, 1000]),
    st.integers(0, 2**32),
)
def test_gelu(device, precision, form, shape, scale, seed):
    random = np.random.default_rng(seed)
    x, dout = (rounded(np.asarray(size * random.normal(size=shape)), precision) for size in (scale, 1))
    y, derivative = device.in_every_order(gelu_forward, device.to(x).reshape(shape), form, True)
    expected, slope = cpu.gelu.gelu_forward(x.astype(np.float64), form, True)
    assert y.dtype == derivative.dtype == x.dtype
    # Far left of zero both are next to nothing, and what they are rounded from is not: x, and a slope of 1.
    close(device.back(y), expected, PRECISIONS[precision], of=x.astype(np.float64))
    close(device.back(derivative), slope, PRECISIONS[precision], of=1)

    dx = device.in_every_order(gelu_backward, device.to(dout).reshape(shape), derivative)
    close(device.back(dx), dout.astype(np.float64) * slope, PRECISIONS[precision], of=dout.astype(np.float64))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_small_values_in_the_left_tail_are_right_too(device, precision):
    """Left of zero y is small and the others' error could hide it: each number is compared with itself."""
    x = rounded(np.linspace(-3, 3, 601)[np.arange(601) != 300], precision)
    for form in ("tanh", "exact"):
        y, _ = gelu_forward(device.to(x), form, False)
        expected, _ = cpu.gelu.gelu_forward(x.astype(np.float64), form, False)
        np.testing.assert_allclose(device.back(y), expected, rtol={"float32": 1e-4, "bfloat16": 5e-3}[precision])


def test_in_place_and_without_derivative(device):
    random = np.random.default_rng(0)
    for shape in ((40, 8), (5, 7)):
        x = random.normal(size=shape).astype(np.float32)
        expected, slope = cpu.gelu.gelu_forward(x.astype(np.float64), "tanh", True)
        given_x, buffer = device.to(x.copy(), np.zeros_like(x))
        y, derivative = gelu_forward(given_x, "tanh", True, out=given_x, out_derivative=buffer)
        assert y is given_x and derivative is buffer
        close(device.back(y), expected, 1e-5)
        close(device.back(derivative), slope, 1e-5)
        y, derivative = gelu_forward(device.to(x), "tanh", False)
        assert derivative is None
        close(device.back(y), expected, 1e-5)


def test_views(device):
    x, dout = np.random.default_rng(0).normal(size=(2, 24, 16)).astype(np.float32)
    y, derivative = gelu_forward(device.to(x).T, "exact", True)
    expected, slope = cpu.gelu.gelu_forward(x.T.astype(np.float64), "exact", True)
    close(device.back(y), expected, 1e-5)
    close(device.back(gelu_backward(device.to(dout).T, derivative)), dout.T * slope, 1e-5)


def test_bad_arguments(device):
    x, other = device.to(np.ones((2, 3), np.float32), np.ones((3, 3), np.float32))
    with pytest.raises(ValueError, match="unknown GELU form 'relu': known are 'tanh' and 'exact'"):
        gelu_forward(x, "relu", True)
    with pytest.raises(ValueError, match=r"x's shape \(2, 3\), given was one of \(3, 3\)"):
        gelu_forward(x, "tanh", True, out_derivative=other)
    with pytest.raises(TypeError, match="with strides"):
        gelu_forward(other, "tanh", False, out=other.T)
