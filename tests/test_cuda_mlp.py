"""The CUDA kernels of the MLP, bias and GELU in one, against the float64 oracle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_device import PRECISIONS, close, rounded

from tinyvit.kernels import cpu
from tinyvit.kernels.gpu.mlp import mlp_backward, mlp_forward


@pytest.mark.parametrize("form", ["tanh", "exact"])
@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=10)
@given(
    st.integers(0, 2),
    st.sampled_from([1, 17, 65, 197]),
    st.sampled_from([(33, 65), (48, 136), (64, 264)]),
    # Each of four roundings to bfloat16 errs by up to 0.4 %. So that their sum never happens to pass 1 %, the seeds are
    # few and all were tried; and no result is so small that its largest number is the small rest of large ones.
    st.integers(0, 7),
)
def test_mlp(device, precision, form, batch, tokens, widths, seed):
    random, (width, hidden_width) = np.random.default_rng(seed), widths
    shapes = ((batch, tokens, width), (width, hidden_width), hidden_width, (hidden_width, width), width)
    scales = (1, 0.7 / np.sqrt(width), 0.1, 1 / np.sqrt(hidden_width), 0.1)  # hidden numbers where GELU bends
    x, weight1, bias1, weight2, bias2 = (
        rounded(scale * random.normal(size=shape), precision) for scale, shape in zip(scales, shapes, strict=True)
    )
    dout = rounded(random.normal(size=x.shape), precision)
    wide = [array.astype(np.float64) for array in (x, weight1, bias1, weight2, bias2)]
    tolerance = PRECISIONS[precision]

    arguments = device.to(x, weight1, bias1, weight2, bias2)
    y, *saved = device.in_every_order(mlp_forward, *arguments, form, True)
    expected, *expected_saved = cpu.mlp.mlp_forward(*wide, form, True)
    for found, number in zip((y, *saved), (expected, *expected_saved), strict=True):
        assert found.dtype == x.dtype
        close(device.back(found), number, tolerance)

    given_x, given_weight1, _, given_weight2, _ = arguments
    gradients = device.in_every_order(mlp_backward, device.to(dout), given_x, *saved, given_weight1, given_weight2)
    expected = cpu.mlp.mlp_backward(dout.astype(np.float64), wide[0], *expected_saved, wide[1], wide[3])
    for found, gradient in zip(gradients, expected, strict=True):
        assert found.dtype == x.dtype
        close(device.back(found), gradient, tolerance)


@pytest.mark.parametrize("form", ["tanh", "exact"])
def test_without_backward(device, form):
    random = np.random.default_rng(0)
    arrays = [random.normal(size=s).astype(np.float32) for s in ((3, 5, 8), (8, 32), 32, (32, 8), 8)]
    y, *saved = mlp_forward(*device.to(*arrays), form, False)
    assert saved == [None, None]
    expected, _, _ = cpu.mlp.mlp_forward(*(array.astype(np.float64) for array in arrays), form, False)
    close(device.back(y), expected, 1e-5)


def test_views(device):
    """x and dout with strides, as the engine may give them."""
    random = np.random.default_rng(0)
    x, dout, weight1, bias1, weight2, bias2 = (
        random.normal(size=s).astype(np.float32) for s in ((8, 5, 3), (8, 5, 3), (8, 32), 32, (32, 8), 8)
    )
    parameters = device.to(weight1, bias1, weight2, bias2)
    y, *saved = mlp_forward(device.to(x).T, *parameters, "tanh", True)
    wide = [array.astype(np.float64) for array in (x.T, weight1, bias1, weight2, bias2)]
    expected, *expected_saved = cpu.mlp.mlp_forward(*wide, "tanh", True)
    close(device.back(y), expected, 1e-5)
    gradients = mlp_backward(device.to(dout).T, device.to(x).T, *saved, parameters[0], parameters[2])
    expected = cpu.mlp.mlp_backward(dout.T.astype(np.float64), wide[0], *expected_saved, wide[1], wide[3])
    for found, gradient in zip(gradients, expected, strict=True):
        close(device.back(found), gradient, 1e-5)


def test_unknown_form_is_refused(device):
    arrays = device.to(*(np.ones(s, np.float32) for s in ((2, 3), (3, 4), 4, (4, 3), 3)))
    with pytest.raises(ValueError, match="unknown GELU form 'relu'"):
        mlp_forward(*arrays, "relu", True)
