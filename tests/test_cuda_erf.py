"""The CUDA kernel of the error function against the C library's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_device import PRECISIONS, close, rounded

from tinyvit.kernels import cpu
from tinyvit.kernels.gpu.erf import erf


@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=15)
@given(st.sampled_from([(), (1,), (17,), (3, 5, 8), (65, 64), (1, 197)]), st.integers(0, 2**32))
def test_erf(device, precision, shape, seed):
    x = rounded(np.asarray(np.random.default_rng(seed).normal(size=shape) * 2), precision)
    y = device.in_every_order(erf, device.xp.asarray(x))
    assert y.dtype == x.dtype and y.shape == shape
    close(device.back(y), cpu.erf.erf(x.astype(np.float64)), PRECISIONS[precision])


def test_limits_and_views(device):
    x = np.array([[-np.inf, -0.0, 0.0, np.inf], [np.nan, 1, 2, 3]], np.float32)
    y = device.back(erf(device.to(x).T))
    np.testing.assert_array_equal(y[:, 0], [-1, 0, 0, 1])
    assert np.isnan(y[0, 1])
