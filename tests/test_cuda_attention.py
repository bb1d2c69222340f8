"""The CUDA kernels of attention against the float64 oracle."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from on_device import PRECISIONS, close, rounded

from tinyvit.errors import InputError
from tinyvit.kernels import cpu
from tinyvit.kernels.gpu import attention

HEAD_WIDTHS = [16, 20, 24, 31, 32, 48, 64, 80, 96, 128]


@st.composite
def shapes(draw):
    """batch, tokens, asking, heads, head width: N x N at most about that of ViT at 224 pixels."""
    tokens = draw(st.sampled_from([1, 17, 65, 197]))
    asking = draw(st.sampled_from([tokens, 1, draw(st.integers(1, tokens))]))
    batch, heads = draw(st.sampled_from([(1, 1), (1, 3), (2, 1)] if tokens > 100 else [(1, 1), (3, 2), (2, 3)]))
    return batch, tokens, asking, heads, draw(st.sampled_from(HEAD_WIDTHS))


def arrays(shape, precision, seed, scale=1.0):
    """qkv and dout."""
    batch, tokens, asking, heads, head_width = shape
    random = np.random.default_rng(seed)
    width = heads * head_width
    qkv = random.normal(scale=scale, size=(batch, tokens, 3 * width))
    return rounded(qkv, precision), rounded(random.normal(size=(batch, asking, width)), precision)


def oracle(qkv, dout, heads):
    """out and dqkv in float64."""
    qkv, dout = qkv.astype(np.float64), dout.astype(np.float64)
    out, weights = cpu.attention.attention_forward(qkv, heads, dout.shape[1])
    return out, cpu.attention.attention_backward(dout, qkv, weights, out, heads)


@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=12)
@given(shapes(), st.integers(0, 2**32))
@example((1, 197, 197, 3, 64), 0)
@example((1, 65, 65, 1, 128), 0)
def test_forward_and_backward(device, precision, shape, seed):
    *_, asking, heads, _ = shape
    qkv, dout = arrays(shape, precision, seed)
    on_device, dout_on_device = device.to(qkv, dout)
    out, logsumexp = device.in_every_order(attention.attention_forward, on_device, heads, asking)
    dqkv = device.in_every_order(attention.attention_backward, dout_on_device, on_device, logsumexp, out, heads)
    assert dqkv.dtype == out.dtype == qkv.dtype and logsumexp.dtype == np.float32
    expected, expected_dqkv = oracle(qkv, dout, heads)
    close(device.back(out), expected, PRECISIONS[precision])
    close(device.back(dqkv), expected_dqkv, PRECISIONS[precision])
