"""The four steps of the matrix product against the float64 oracle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_device import PRECISIONS, close, rounded

from tinyvit.kernels.gpu.lessons import matmul

STEPS = [
    (getattr(matmul, name), precision)
    for name in ("matmul_naive", "matmul_tiles", "matmul_registers", "matmul_tensor_cores")
    for precision in PRECISIONS
    if (name, precision) != ("matmul_tensor_cores", "float32")
]
SIZES = st.sampled_from([1, 7, 16, 33, 64, 65, 128, 150])


@pytest.mark.parametrize(("step", "precision"), STEPS, ids=[f"{s.__name__}-{p}" for s, p in STEPS])
@settings(max_examples=8)
@given(SIZES, SIZES, st.sampled_from([1, 8, 17, 65, 197]), st.integers(0, 2**32))
def test_step(device, step, precision, rows, columns, depth, seed):
    random = np.random.default_rng(seed)
    a, b = (rounded(random.normal(size=shape), precision) for shape in ((rows, depth), (depth, columns)))
    c = device.in_every_order(step, *device.to(a, b))
    assert c.dtype == a.dtype
    close(device.back(c), a.astype(np.float64) @ b.astype(np.float64), PRECISIONS[precision])


def test_bad_arguments(device):
    a, b = device.to(np.ones((2, 3), np.float32), np.ones((4, 5), np.float32))
    with pytest.raises(ValueError, match=r"a \(2, 3\) has 3 columns and b \(4, 5\) has 4 rows"):
        matmul.matmul_naive(a, b)
    with pytest.raises(TypeError, match="expected bfloat16"):
        matmul.matmul_tensor_cores(a, device.to(np.ones((3, 5), np.float32)))
    with pytest.raises(TypeError, match="with strides"):
        matmul.matmul_tiles(b.T, device.to(np.ones((4, 2), np.float32)))
