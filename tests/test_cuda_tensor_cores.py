"""The bfloat16 attention on tensor cores against the float64 oracle.

In the first order of threads products lie in quads, as on today's chips, in the others they do not: see mma.h of
cuda_on_cpu. So each test that goes through all orders is of both ways to compile the kernels.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_device import PRECISIONS, close, rounded

from tinyvit.kernels import cpu
from tinyvit.kernels.gpu import tensor_core_attention

TOLERANCE = PRECISIONS["bfloat16"]
HEAD_WIDTHS = [12, 64, 128]  # padded and read number by number; that of the paper's models; the widest


def shapes(head_width: int):
    """(batch, heads, tokens), few of them where the heads are wide."""
    tokens = st.sampled_from([1, 17, 65]) | st.integers(1, 40)
    return st.tuples(st.integers(1, 2), st.integers(1, 2), tokens)


def qkv_of(shape, head_width: int, spread: float, seed: int) -> np.ndarray:
    batch, heads, tokens = shape
    return rounded(np.random.default_rng(seed).normal(0, spread, (batch, tokens, 3 * heads * head_width)), "bfloat16")


def oracle(qkv: np.ndarray, heads: int, asking: int):
    """The output, the weights, and the logarithm of the sum of exp(score), in float64."""
    qkv = qkv.astype(np.float64)
    batch, tokens, width = qkv.shape
    out, weights = cpu.attention.attention_forward(qkv, heads, asking)
    q, k, _ = qkv.reshape(batch, tokens, 3, heads, width // (3 * heads)).transpose(2, 0, 3, 1, 4)
    scores = q[:, :, :asking] @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    return out, weights, np.logaddexp.reduce(scores, -1)


@pytest.mark.parametrize("asking", [197, 1])
def test_the_tokens_of_a_vision_transformer(device, asking):
    qkv = qkv_of((1, 2, 197), 64, 1, 0)
    dout = rounded(np.random.default_rng(1).normal(size=(1, asking, 128)), "bfloat16")
    device_qkv, device_dout = device.to(qkv, dout)
    out, logsumexp = device.in_every_order(tensor_core_attention.forward, device_qkv, 2, asking)
    dqkv = device.in_every_order(tensor_core_attention.backward, device_dout, device_qkv, logsumexp, out, 2)
    expected, weights, _ = oracle(qkv, 2, asking)
    dexpected = cpu.attention.attention_backward(dout.astype(np.float64), qkv.astype(np.float64), weights, expected, 2)
    close(device.back(out), expected, TOLERANCE)
    close(device.back(dqkv), dexpected, TOLERANCE)
    assert not device.back(dqkv)[:, asking:, :128].any()  # the queries of tokens that did not ask


def test_scores_far_below_zero(device):
    # exp(-logsumexp), the weight of a key of zeros such as fills up a tile, is infinite: no such key may count.
    qkv = np.random.default_rng(0).normal(size=(1, 17, 3, 64))
    qkv[:, :, 0] += 6
    qkv[:, :, 1] -= 6
    qkv = rounded(qkv.reshape(1, 17, -1), "bfloat16")
    dout = rounded(np.random.default_rng(1).normal(size=(1, 17, 64)), "bfloat16")
    device_qkv, device_dout = device.to(qkv, dout)
    out, logsumexp = device.in_every_order(tensor_core_attention.forward, device_qkv, 1, 17)
    expected, _, expected_logsumexp = oracle(qkv, 1, 17)
    assert (expected_logsumexp < -100).all()
    close(device.back(out), expected, TOLERANCE)
    close(device.back(logsumexp), expected_logsumexp, 1e-5)
    dqkv = device.in_every_order(tensor_core_attention.backward, device_dout, device_qkv, logsumexp, out, 1)
    assert np.isfinite(device.back(dqkv)).all()


def test_heads_that_are_too_wide_are_refused(device):
    qkv = device.to(rounded(np.zeros((1, 2, 3 * 136)), "bfloat16"))
    with pytest.raises(ValueError, match="heads of width 128 at most, given were 1 heads of width 136: use more heads"):
        tensor_core_attention.forward(qkv, 1, 2)


@pytest.mark.parametrize("head_width", HEAD_WIDTHS)
@given(st.data())
@settings(max_examples=6)
def test_forward(device, head_width, data):
    shape = data.draw(shapes(head_width))
    asking = data.draw(st.sampled_from([1, shape[2]]))
    qkv = qkv_of(shape, head_width, data.draw(st.sampled_from([0.1, 1, 3])), data.draw(st.integers(0, 2**32)))
    out, logsumexp = device.in_every_order(tensor_core_attention.forward, device.to(qkv), shape[1], asking)
    expected, _, expected_logsumexp = oracle(qkv, shape[1], asking)
    assert out.dtype == qkv.dtype
    close(device.back(out), expected, TOLERANCE)
    close(device.back(logsumexp), expected_logsumexp, 1e-5)


@pytest.mark.parametrize("head_width", HEAD_WIDTHS)
@given(st.data())
@settings(max_examples=5)
def test_backward(device, head_width, data):
    # Not a spread of 3: where softmax is saturated, delta from an output rounded to bfloat16 is off by 3 % of dqkv.
    shape = data.draw(shapes(head_width))
    asking = data.draw(st.sampled_from([1, shape[2]]))
    seed = data.draw(st.integers(0, 2**32))
    qkv = qkv_of(shape, head_width, data.draw(st.sampled_from([0.1, 1])), seed)
    dout = rounded(np.random.default_rng(seed + 1).normal(size=(shape[0], asking, qkv.shape[-1] // 3)), "bfloat16")
    device_qkv, device_dout = device.to(qkv), device.to(dout)
    out, logsumexp = tensor_core_attention.forward(device_qkv, shape[1], asking)
    dqkv = device.in_every_order(tensor_core_attention.backward, device_dout, device_qkv, logsumexp, out, shape[1])
    expected_out, weights, _ = oracle(qkv, shape[1], asking)
    expected = cpu.attention.attention_backward(
        dout.astype(np.float64), qkv.astype(np.float64), weights, expected_out, shape[1]
    )
    assert dqkv.dtype == qkv.dtype
    close(device.back(dqkv), expected, TOLERANCE)
