"""The CUDA kernel of dropout: its mask is that of the CPU's kernel, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_device import rounded

from tinyvit.kernels import cpu
from tinyvit.kernels.gpu import dropout

RATES = st.sampled_from([0.0, 0.1, 0.5, 0.9]) | st.floats(0, 0.99)
SHAPES = st.sampled_from([(1,), (7,), (8,), (9,), (12,), (3, 5, 17), (65, 64), (2, 197, 24)])


@settings(max_examples=40)
@given(SHAPES, RATES, st.integers(0, 2**64 - 1) | st.integers(0, 2**128 - 1), st.integers(0, 2**32))
def test_float32_is_the_cpu_bit_for_bit(device, shape, rate, key, seed):
    x = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    y = device.in_every_order(dropout.dropout_forward, device.to(x), rate, key)
    assert y.shape == shape
    np.testing.assert_array_equal(device.back(y), cpu.dropout.dropout_forward(x, rate, key))
    dx = dropout.dropout_backward(device.to(x), rate, key)
    np.testing.assert_array_equal(device.back(dx), device.back(y))


def test_a_number_equal_to_the_rate_is_kept(device):
    rate = float(np.random.Generator(np.random.Philox(key=5)).random(8, dtype=np.float32)[6])
    assert device.back(dropout.dropout_forward(device.to(np.ones(8, np.float32)), rate, 5))[6] > 0


@settings(max_examples=20)
@given(SHAPES, RATES, st.integers(0, 2**63 - 1))
def test_bfloat16_has_the_same_mask(device, shape, rate, key):
    ones = rounded(np.ones(shape), "bfloat16")
    y = device.in_every_order(dropout.dropout_forward, device.to(ones), rate, key)
    kept = cpu.dropout.dropout_forward(np.ones(shape, np.float32), rate, key)
    assert y.dtype == ones.dtype
    np.testing.assert_array_equal(device.back(y), rounded(kept, "bfloat16").astype(np.float64))


def test_views_are_read_in_their_own_order(device):
    x = np.random.default_rng(0).normal(size=(24, 7)).astype(np.float32)
    y = dropout.dropout_forward(device.to(x).T, 0.5, 3)
    np.testing.assert_array_equal(device.back(y), cpu.dropout.dropout_forward(x.T, 0.5, 3))


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_share_of_zeros(device, rate):
    y = device.back(dropout.dropout_forward(device.to(np.ones(40_000, np.float32)), rate, 11))
    assert np.mean(y == 0) == pytest.approx(rate, abs=4 * (rate * (1 - rate) / 40_000) ** 0.5)
    assert y.mean() == pytest.approx(1, abs=0.03)


def test_not_a_number_stays_one_where_it_is_dropped(device):
    """As on the CPU: what is not finite must not be hidden."""
    assert np.isnan(device.back(dropout.dropout_forward(device.to(np.full(64, np.nan, np.float32)), 0.5, 1))).all()
