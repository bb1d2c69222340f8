"""Layer normalisation, alone and after a residual addition: the CUDA kernels against the float64 oracle, and the fused
pair of the oracle against its parts and against finite differences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_device import PRECISIONS, close, rounded

from tinyvit.kernels import cpu
from tinyvit.kernels.cpu import blocks
from tinyvit.kernels.gpu import layer_norm
from tinyvit.kernels.gpu.lessons import layer_norm as lessons

EPS = 1e-6
# By the number, by 16 bytes with the last of them part of a row, and (1284) too wide for registers.
WIDTHS = st.sampled_from([1, 17, 64, 65, 197, 264, 1284])
SEEDS = st.integers(0, 2**32)


def drawn(precision: str, seed: int, *shapes) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [rounded(random.normal(size=shape), precision) for shape in shapes]


def in_float64(*arrays) -> list[np.ndarray]:
    return [array.astype(np.float64) for array in arrays]


def all_close(device, found, expected, precision: str) -> None:
    for one, other in zip(found, expected, strict=True):
        close(device.back(one), other, PRECISIONS[precision])


@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=25)
@given(st.integers(1, 70), WIDTHS, SEEDS)
def test_forward_and_backward(device, precision, rows, width, seed):
    x, gamma, beta, dy = drawn(precision, seed, (rows, width), width, width, (rows, width))
    on_device = device.to(x, gamma, beta)
    y, *saved = device.in_every_order(layer_norm.layer_norm_forward, *on_device, EPS)
    found = device.in_every_order(layer_norm.layer_norm_backward, device.to(dy), *saved, on_device[1])
    assert all(array.dtype == x.dtype for array in (y, *found))
    expected, *expected_saved = cpu.layer_norm.layer_norm_forward(*in_float64(x, gamma, beta), EPS)
    gradients = cpu.layer_norm.layer_norm_backward(*in_float64(dy), *expected_saved, *in_float64(gamma))
    all_close(device, (y, *found), (expected, *gradients), precision)


@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=25)
@given(st.integers(1, 70), WIDTHS, st.booleans(), SEEDS)
def test_the_fused_residual(device, precision, rows, width, uses_z, seed):
    """Bit by bit the sum, and the norm of the sum as it was stored."""
    shape = (rows, width)
    x, branch, gamma, beta, dz, dy = drawn(precision, seed, shape, shape, width, width, shape, shape)
    on_device = device.to(x, branch, gamma, beta)
    z, y, *saved = device.in_every_order(layer_norm.add_layer_norm_forward, *on_device, EPS)
    z_expected = (x.astype(np.float32) + branch.astype(np.float32)).astype(x.dtype)
    np.testing.assert_array_equal(device.back(z), *in_float64(z_expected))
    given_dz = device.to(dz) if uses_z else None
    found = device.in_every_order(layer_norm.add_layer_norm_backward, given_dz, device.to(dy), *saved, on_device[2])
    expected, *expected_saved = cpu.layer_norm.layer_norm_forward(*in_float64(z_expected, gamma, beta), EPS)
    dx, *others = cpu.layer_norm.layer_norm_backward(*in_float64(dy), *expected_saved, *in_float64(gamma))
    dx = dx + dz.astype(np.float64) if uses_z else dx
    all_close(device, (y, *found), (expected, dx, *others), precision)


@pytest.mark.parametrize(("rows", "width"), [(60, 16), (10, 1284)])
def test_more_rows_than_warps(device, rows, width, monkeypatch):
    """Each warp of the backward pass walks down many rows."""
    monkeypatch.setattr(layer_norm, "MULTIPROCESSORS", 1)
    monkeypatch.setattr(layer_norm, "MOST_WIDE_BLOCKS", 3)
    x, gamma, dy = drawn("float32", 0, (rows, width), width, (rows, width))
    _, *saved = layer_norm.layer_norm_forward(*device.to(x, gamma, gamma), EPS)
    found = layer_norm.layer_norm_backward(device.to(dy), *saved, device.to(gamma))
    _, *expected_saved = cpu.layer_norm.layer_norm_forward(*in_float64(x, gamma, gamma), EPS)
    expected = cpu.layer_norm.layer_norm_backward(*in_float64(dy), *expected_saved, *in_float64(gamma))
    all_close(device, found, expected, "float32")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_tokens_and_views(device, precision):
    """Three axes, a view with strides, and one that begins where 16 bytes cannot be read at once."""
    x, gamma, beta = drawn(precision, 3, (3, 5, 72), 64, 64)
    on_device = device.to(x)
    shifted = on_device.reshape(-1)[1 : 1 + 15 * 64].reshape(15, 64)
    for view, same in (
        (on_device[:, :, 4:68], x[:, :, 4:68]),
        (shifted, x.reshape(-1)[1 : 1 + 15 * 64].reshape(15, 64)),
    ):
        y, *saved = layer_norm.layer_norm_forward(view, *device.to(gamma, beta), EPS)
        expected, *expected_saved = cpu.layer_norm.layer_norm_forward(*in_float64(same, gamma, beta), EPS)
        found = layer_norm.layer_norm_backward(view, *saved, device.to(gamma))
        gradients = cpu.layer_norm.layer_norm_backward(*in_float64(same), *expected_saved, *in_float64(gamma))
        all_close(device, (y, *found), (expected, *gradients), precision)


def test_rows_far_from_zero(device):
    """The variance is not the difference of two large numbers."""
    (x,) = drawn("float32", 4, (5, 64))
    x, gamma, beta = x + np.float32(1000), np.ones(64, np.float32), np.zeros(64, np.float32)
    y, *_ = layer_norm.layer_norm_forward(*device.to(x, gamma, beta), EPS)
    expected, *_ = cpu.layer_norm.layer_norm_forward(*in_float64(x, gamma, beta), EPS)
    close(device.back(y), expected, 1e-4)  # the mean itself is off by a rounding of 1000


@pytest.mark.parametrize("step", lessons.STEPS, ids=lambda step: step.__name__)
@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=10)
@given(st.integers(1, 70), st.sampled_from([1, 17, 65, 197]), SEEDS)
def test_lessons(device, step, precision, rows, width, seed):
    x, gamma, beta = drawn(precision, seed, (rows, width), width, width)
    y = device.in_every_order(step, *device.to(x, gamma, beta), EPS)
    expected, *_ = cpu.layer_norm.layer_norm_forward(*in_float64(x, gamma, beta), EPS)
    close(device.back(y), expected, PRECISIONS[precision])


def test_arrays_that_do_not_fit_are_refused(device):
    x, gamma = drawn("float32", 0, (2, 8), 7)
    with pytest.raises(ValueError, match=r"^gamma has shape \(7,\), expected \(8,\)$"):
        layer_norm.layer_norm_forward(*device.to(x, gamma, gamma), EPS)
    with pytest.raises(TypeError, match="compute with float32 and bfloat16, not float64"):
        layer_norm.layer_norm_forward(*device.to(*in_float64(x, x[0], x[0])), EPS)


def fused_loss(cz, cy, x, branch, gamma, beta) -> float:
    z, y, *_ = cpu.layer_norm.add_layer_norm_forward(x, branch, gamma, beta, EPS)
    return float(np.sum(cz * z) + np.sum(cy * y))


@pytest.mark.parametrize("uses_z", [True, False])
@given(st.integers(1, 5), st.sampled_from([2, 3, 8]), SEEDS)
def test_the_fused_pair_on_the_cpu_against_finite_differences(uses_z, rows, width, seed):
    random = np.random.default_rng(seed)
    shape = (2, rows, width)
    # Numbers that lie apart: where all of a row are alike, 1 / std has a peak too sharp for finite differences.
    x = random.permuted(np.broadcast_to(np.arange(width) * 0.5, shape), axis=-1) + random.uniform(-0.1, 0.1, shape)
    inputs = [x, random.uniform(-0.05, 0.05, shape), random.normal(size=width), random.normal(size=width)]
    cz, cy = random.normal(size=shape) * uses_z, random.normal(size=shape)
    _, _, *saved = cpu.layer_norm.add_layer_norm_forward(*inputs, EPS)
    dx, dgamma, dbeta = cpu.layer_norm.add_layer_norm_backward(cz if uses_z else None, cy, *saved, inputs[2])
    for i, gradient in enumerate((dx, dx, dgamma, dbeta)):
        direction, h = random.normal(size=gradient.shape), 1e-5
        there, back = ([a + sign * h * direction if j == i else a for j, a in enumerate(inputs)] for sign in (1, -1))
        slope = (fused_loss(cz, cy, *there) - fused_loss(cz, cy, *back)) / (2 * h)
        np.testing.assert_allclose(np.sum(gradient * direction), slope, rtol=1e-6, atol=1e-7)


def test_the_fused_pair_on_the_cpu_is_its_parts(monkeypatch):
    """Exactly so, cut into blocks of rows."""
    x, branch, gamma, beta, dz, dy = drawn("float32", 1, (2, 9, 8), (2, 9, 8), 8, 8, (2, 9, 8), (2, 9, 8))
    monkeypatch.setattr(blocks, "BLOCK_NUMBERS", 40)
    z, y, *saved = cpu.layer_norm.add_layer_norm_forward(x, branch, gamma, beta, EPS)
    expected, *expected_saved = cpu.layer_norm.layer_norm_forward(x + branch, gamma, beta, EPS)
    np.testing.assert_array_equal(z, x + branch)
    np.testing.assert_array_equal(y, expected)
    dx, *others = cpu.layer_norm.add_layer_norm_backward(dz, dy, *saved, gamma)
    expected_dx, *expected_others = cpu.layer_norm.layer_norm_backward(dy, *expected_saved, gamma)
    np.testing.assert_array_equal(dx, expected_dx + dz)
    np.testing.assert_array_equal(others, expected_others)
