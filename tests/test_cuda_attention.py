"""The CUDA kernels of attention against the float64 oracle. Those on tensor cores have tests of their own."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from on_device import PRECISIONS, close, rounded

from tinyvit.errors import InputError
from tinyvit.kernels import cpu
from tinyvit.kernels.gpu import attention
from tinyvit.kernels.gpu.lessons import attention as lessons

# One for each way that a tile can be cut: each takes another path, and a compilation.
HEAD_WIDTHS = [16, 20, 31, 64, 80, 128]
SEEDS = st.integers(0, 2**32)


@st.composite
def shapes(draw):
    """batch, tokens, asking, heads, head width."""
    tokens = draw(st.sampled_from([1, 17, 65, 197]))
    asking = draw(st.sampled_from([tokens, 1, draw(st.integers(1, tokens))]))
    batch, heads = draw(st.sampled_from([(1, 1), (1, 3), (2, 1)] if tokens > 100 else [(1, 1), (3, 2), (2, 3)]))
    return batch, tokens, asking, heads, draw(st.sampled_from(HEAD_WIDTHS))


def arrays(shape, precision, seed):
    """qkv and dout."""
    batch, tokens, asking, heads, head_width = shape
    random = np.random.default_rng(seed)
    sizes = ((batch, tokens, 3 * heads * head_width), (batch, asking, heads * head_width))
    return tuple(rounded(random.normal(size=size), precision) for size in sizes)


def check(device, qkv, dout, heads, tolerance, backward_tolerance):
    """Forward and backward, in every order of threads, against float64."""
    asking = dout.shape[1]
    on_device, dout_on_device = device.to(qkv, dout)
    out, logsumexp = device.in_every_order(attention.attention_forward, on_device, heads, asking)
    dqkv = device.in_every_order(attention.attention_backward, dout_on_device, on_device, logsumexp, out, heads)
    assert dqkv.dtype == out.dtype == qkv.dtype and logsumexp.dtype == np.float32
    qkv, dout = qkv.astype(np.float64), dout.astype(np.float64)
    expected, weights = cpu.attention.attention_forward(qkv, heads, asking)
    close(device.back(out), expected, tolerance)
    expected = cpu.attention.attention_backward(dout, qkv, weights, expected, heads)
    close(device.back(dqkv), expected, backward_tolerance)
    assert not np.any(device.back(dqkv)[:, asking:, : qkv.shape[-1] // 3]), "a token that did not ask has a gradient"


@settings(max_examples=20)
@given(shapes(), SEEDS)
@example((1, 197, 197, 3, 64), 0)
@example((1, 65, 40, 2, 128), 0)
@example((1, 33, 33, 1, 31), 0)
def test_forward_and_backward(device, shape, seed):
    check(device, *arrays(shape, "float32", seed), shape[3], 1e-5, 1e-5)


def test_bfloat16_goes_to_tensor_cores(device):
    check(device, *arrays((1, 17, 17, 2, 64), "bfloat16", 0), 2, 1e-2, 1e-2)


@pytest.mark.parametrize("query, key", [((-20, 20), (-20, 20)), ((4, 8), (-8, -4))])
def test_scores_of_hundreds_do_not_overflow(device, query, key):
    """Of both signs, or all negative. Numbers without rounding, so that the scores are exact."""
    random = np.random.default_rng(0)
    shape = (1, 65, 2 * 64)
    parts = [random.integers(*query, shape), random.integers(*key, shape), random.normal(size=shape)]
    qkv, dout = np.concatenate(parts, -1).astype(np.float32), random.normal(size=shape).astype(np.float32)
    assert np.abs(np.log(np.sum(np.exp(parts[0][0, 0, :64] @ parts[1][0, :, :64].T / 8)))) > 100
    check(device, qkv, dout, 2, 1e-5, 1e-4)  # logsumexp, some hundreds, is rounded to 3e-5


@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=6)
@given(st.sampled_from([1, 17, 65]), SEEDS)
def test_weights(device, precision, tokens, seed):
    qkv, _ = arrays((2, tokens, tokens, 3, 64), precision, seed)
    found = device.back(device.in_every_order(attention.attention_weights, device.to(qkv), 3))
    close(found, cpu.attention.attention_weights(qkv.astype(np.float64), 3), PRECISIONS[precision])
    np.testing.assert_allclose(found.sum(-1), 1, atol=PRECISIONS[precision])


def test_views_are_copied(device):
    qkv, dout = arrays((2, 17, 5, 1, 16), "float32", 0)
    qkv, dout = device.to(qkv, dout)
    results = []
    for given_qkv, given_dout in ((qkv, dout), (qkv[::-1], dout[::-1])):
        out, logsumexp = attention.attention_forward(given_qkv, 1, 5)
        results.append([out, attention.attention_backward(given_dout, given_qkv, logsumexp, out, 1)])
    for straight, turned in zip(*results, strict=True):
        np.testing.assert_array_equal(device.back(straight), device.back(turned)[::-1])


@pytest.mark.parametrize("step", lessons.STEPS, ids=lambda step: step.__name__)
@pytest.mark.parametrize("precision, head_width", [("float32", 64), ("float32", 31), ("bfloat16", 64)])
@settings(max_examples=4)
@given(st.sampled_from([1, 65, 197]), SEEDS)
def test_lessons(device, step, precision, head_width, tokens, seed):
    qkv, _ = arrays((1, tokens, tokens, 2, head_width), precision, seed)
    found = device.in_every_order(step, device.to(qkv), 2)
    expected, _ = cpu.attention.attention_forward(qkv.astype(np.float64), 2, tokens)
    close(device.back(found), expected, PRECISIONS[precision])


def test_what_the_kernels_cannot_do_is_refused():
    qkv = np.zeros((1, 4, 3 * 136), np.float32)
    with pytest.raises(InputError, match=r"^1 heads of attention are 136 wide: on the GPU a head is at most 128 wide"):
        attention.attention_forward(qkv, 1, 4)
    with pytest.raises(ValueError, match=r"^qkv is 408 wide: expected queries, keys and values of 5 heads$"):
        attention.attention_forward(qkv, 5, 4)
    with pytest.raises(ValueError, match=r"^5 of 4 tokens ask: expected 1 to 4$"):
        attention.attention_forward(qkv, 2, 5)
    with pytest.raises(TypeError, match="float32 and bfloat16, not float64"):
        attention.attention_forward(qkv.astype(np.float64), 2, 4)
    out = np.zeros((1, 4, 136), np.float32)
    with pytest.raises(ValueError, match=r"^dout has shape \(1, 3, 136\), expected \(1, 4, 136\)$"):
        attention.attention_backward(out[:, :3], qkv, np.zeros((1, 2, 4), np.float32), out, 2)
