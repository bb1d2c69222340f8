"""The CUDA kernels of both cross-entropies against the float64 oracle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_device import PRECISIONS, close, rounded

from tinyvit.kernels import cpu
from tinyvit.kernels.gpu import sigmoid_cross_entropy as sigmoid
from tinyvit.kernels.gpu import softmax_cross_entropy as softmax

SHAPES = st.tuples(st.sampled_from([1, 2, 17, 65]), st.sampled_from([1, 2, 10, 17, 65, 197, 264, 1000]))
SPREADS = st.sampled_from([0, 1, 10])
SEEDS = st.integers(0, 2**32)


def logits_and_targets(precision: str, shape, spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and rows of targets in [0, 1] with sums from 0.1 to 1: those too have a gradient."""
    random = np.random.default_rng(seed)
    targets = random.random(shape) ** 4 + 1e-3
    targets *= random.uniform(0.1, 1, (len(targets), 1)) / targets.sum(axis=1, keepdims=True)
    targets = targets.astype(np.float32)
    return rounded(random.normal(size=shape) * spread, precision), targets


@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=25)
@given(SHAPES, SPREADS, SEEDS)
def test_softmax_cross_entropy(device, precision, shape, spread, seed):
    logits, targets = logits_and_targets(precision, shape, spread, seed)
    on_device, dout = device.to(targets), device.xp.asarray(np.float32(-1.7))
    loss, saved = device.in_every_order(softmax.softmax_cross_entropy_forward, device.to(logits), on_device)
    assert loss.dtype == np.float32 and loss.shape == ()
    expected, probabilities = cpu.softmax_cross_entropy.softmax_cross_entropy_forward(
        logits.astype(np.float64), targets.astype(np.float64)
    )
    # With one class the loss is a rounding.
    assert abs(float(loss) - expected) <= 1e-5 * abs(expected) + 1e-6
    dlogits = device.in_every_order(softmax.softmax_cross_entropy_backward, dout, saved, on_device)
    assert dlogits.dtype == logits.dtype
    gradient = cpu.softmax_cross_entropy.softmax_cross_entropy_backward(-1.7, probabilities, targets.astype(np.float64))
    if shape[1] > 1:
        close(device.back(dlogits), gradient, PRECISIONS[precision])
    else:
        assert np.abs(device.back(dlogits)).max() < 1e-6


@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=25)
@given(SHAPES, SPREADS, SEEDS)
def test_sigmoid_cross_entropy(device, precision, shape, spread, seed):
    logits, targets = logits_and_targets(precision, shape, spread, seed)
    on_device, dout = device.to(logits, targets), device.xp.asarray(np.float32(-1.7))
    loss = device.in_every_order(sigmoid.sigmoid_cross_entropy_forward, *on_device)
    assert loss.dtype == np.float32 and loss.shape == ()
    in_float64 = [array.astype(np.float64) for array in (logits, targets)]
    expected = cpu.sigmoid_cross_entropy.sigmoid_cross_entropy_forward(*in_float64)
    assert abs(float(loss) - expected) <= 1e-5 * abs(expected)
    dlogits = device.in_every_order(sigmoid.sigmoid_cross_entropy_backward, dout, *on_device)
    assert dlogits.dtype == logits.dtype
    gradient = cpu.sigmoid_cross_entropy.sigmoid_cross_entropy_backward(-1.7, *in_float64)
    close(device.back(dlogits), gradient, PRECISIONS[precision])


def test_sigmoid_cross_entropy_of_many_numbers(device, monkeypatch):
    """Each thread sums several."""
    monkeypatch.setattr(sigmoid, "MOST_BLOCKS", 3)
    logits, targets = logits_and_targets("float32", (17, 197), 1, 0)
    loss = device.in_every_order(sigmoid.sigmoid_cross_entropy_forward, *device.to(logits, targets))
    expected = cpu.sigmoid_cross_entropy.sigmoid_cross_entropy_forward(logits.astype(np.float64), targets)
    assert abs(float(loss) - expected) <= 1e-5 * expected


def test_a_sure_model_keeps_its_small_gradient(device):
    """In bfloat16 a probability of 0.999 is 1, and its gradient, 0.001, would be lost."""
    logits, targets = rounded(np.array([[7.0, 0.0]]), "bfloat16"), np.array([[1, 0]], np.float32)
    _, saved = softmax.softmax_cross_entropy_forward(*device.to(logits, targets))
    dlogits = softmax.softmax_cross_entropy_backward(device.xp.asarray(np.float32(1)), saved, device.to(targets))
    small = 1 / (1 + np.exp(7))
    close(device.back(dlogits), np.array([[-small, small]]), 1e-2)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_logits_far_from_zero(device, loss):
    """No exp overflows, and a probability that rounds to 0 has a finite logarithm."""
    logits, targets = np.array([[500, -500, 499]], np.float32), np.array([[0, 1, 0]], np.float32)
    if loss == "softmax":
        found, _ = softmax.softmax_cross_entropy_forward(*device.to(logits, targets))
        expected = 1000 + np.log(1 + np.exp(-1))
    else:
        found, expected = sigmoid.sigmoid_cross_entropy_forward(*device.to(logits, targets)), 500 + 500 + 499
    assert float(found) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_comes_through(device, bad):
    logits, targets = logits_and_targets("float32", (5, 300), 1, 0)
    logits[3, 299] = bad
    assert not np.isfinite(float(softmax.softmax_cross_entropy_forward(*device.to(logits, targets))[0]))
    assert not np.isfinite(float(sigmoid.sigmoid_cross_entropy_forward(*device.to(logits, targets))))


def test_targets_of_another_type_and_shape(device):
    logits, targets = logits_and_targets("bfloat16", (5, 24), 1, 0)
    targets = rounded(targets, "bfloat16")
    for forward in (softmax.softmax_cross_entropy_forward, sigmoid.sigmoid_cross_entropy_forward):
        found = forward(*device.to(logits, targets))
        expected = forward(*device.to(logits, targets.astype(np.float32)))
        if isinstance(found, tuple):
            found, expected = found[0], expected[0]
        assert float(found) == float(expected)
        with pytest.raises(ValueError, match=r"^targets has shape \(24,\), expected \(5, 24\)$"):
            forward(*device.to(logits, targets[0]))
