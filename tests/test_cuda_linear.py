"""The CUDA kernels of linear layers against the float64 oracle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_device import PRECISIONS, close, rounded

from tinyvit.kernels import cpu
from tinyvit.kernels.gpu.linear import linear_backward, linear_forward

SIZES = st.sampled_from([1, 7, 16, 65, 264])


@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=15)
@given(st.integers(0, 3), st.sampled_from([1, 17, 65, 197]), SIZES, SIZES, st.integers(0, 2**32))
def test_linear(device, precision, batch, tokens, inputs, outputs, seed):
    random = np.random.default_rng(seed)
    shapes = ((batch, tokens, inputs), (inputs, outputs), (outputs,), (batch, tokens, outputs))
    # Not about zero: a gradient that is a single number would be the small rest of large ones, and its error large.
    x, weight, bias, dout = (rounded(random.normal(1, 1, shape), precision) for shape in shapes)
    wide = [array.astype(np.float64) for array in (x, weight, bias, dout)]

    y = device.in_every_order(linear_forward, *device.to(x, weight, bias))
    close(device.back(y), cpu.linear.linear_forward(*wide[:3]), PRECISIONS[precision])

    gradients = device.in_every_order(linear_backward, *device.to(dout, x, weight))
    for found, expected in zip(gradients, cpu.linear.linear_backward(wide[3], *wide[:2]), strict=True):
        assert found.dtype == x.dtype
        close(device.back(found), expected, PRECISIONS[precision])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_views(device, precision):
    """x and dout with strides, as the engine may give them, a bias that begins anywhere; and dx left out."""
    random = np.random.default_rng(0)
    x, weight, dout = (rounded(random.normal(size=s), precision) for s in ((32, 3, 5), (32, 16), (16, 3, 5)))
    biases = rounded(random.normal(size=17), precision)
    y = linear_forward(device.to(x).T, device.to(weight), device.to(biases)[1:])
    expected = cpu.linear.linear_forward(*(a.astype(np.float64) for a in (x.T, weight, biases[1:])))
    close(device.back(y), expected, PRECISIONS[precision])

    dx, *gradients = linear_backward(device.to(dout).T, device.to(x).T, device.to(weight), needs_dx=False)
    assert dx is None
    expected = cpu.linear.linear_backward(*(a.astype(np.float64) for a in (dout.T, x.T, weight)))[1:]
    for found, gradient in zip(gradients, expected, strict=True):
        close(device.back(found), gradient, PRECISIONS[precision])


def test_float64_is_refused(device):
    with pytest.raises(TypeError, match="float32 and bfloat16, not float64"):
        linear_forward(*device.to(np.ones((2, 3)), np.ones((3, 4)), np.ones(4)))
