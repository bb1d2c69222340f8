"""The CUDA kernels of layer normalisation against the float64 oracle."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from on_device import PRECISIONS, close, rounded

from tinyvit.kernels import cpu
from tinyvit.kernels.gpu import layer_norm


@pytest.mark.parametrize("precision", PRECISIONS)
@given(st.integers(1, 70), st.sampled_from([1, 17, 64, 65, 197]), st.integers(0, 2**32))
def test_forward(device, precision, rows, width, seed):
    random = np.random.default_rng(seed)
    x, gamma, beta = (rounded(random.normal(size=s), precision) for s in ((rows, width), width, width))
    y, _, _ = device.in_every_order(layer_norm.layer_norm_forward, *device.to(x, gamma, beta), 1e-6)
    expected, _, _ = cpu.layer_norm.layer_norm_forward(*(a.astype(np.float64) for a in (x, gamma, beta)), 1e-6)
    close(device.back(y), expected, PRECISIONS[precision])
