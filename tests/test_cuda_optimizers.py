"""The CUDA kernels of the optimisers, of the gradient's norm and of clipping, against the float64 oracle; and what both
backends do with a bad batch and with the model's working copy of the parameters."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_device import PRECISIONS, close, rounded

from tinyvit.kernels import cpu
from tinyvit.kernels.gpu import adamw, clip_scale, sgd, squared_norm

ADAMW = {"learning_rate": 3e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.1, "step": 3}
SGD = {"learning_rate": 0.03, "momentum": 0.9, "weight_decay": 0.01}
# (gpu, cpu, settings, arrays that it remembers)
OPTIMIZERS = {
    "adamw": (adamw.adamw_step, cpu.adamw.adamw_step, ADAMW, 2),
    "sgd": (sgd.sgd_step, cpu.sgd.sgd_step, SGD, 1),
}
SIZES = st.sampled_from([0, 1, 7, 16, 1000, 1024, 5001])
SEEDS = st.integers(0, 2**32)


def flat_arrays(precision: str, size: int, remembered: int, seed: int) -> list[np.ndarray]:
    """Parameter, gradient and state; the state is not negative, as a variance is not."""
    random = np.random.default_rng(seed)
    gradient = random.normal(size=size) * 10.0 ** random.uniform(-3, 1, size)
    state = [random.random(size).astype(np.float32) for _ in range(remembered)]
    return [random.normal(size=size).astype(np.float32), rounded(gradient, precision), *state]


def stepped(device, kernel, arrays, **settings) -> tuple:
    """Copies of the arrays, on the device, after a step."""
    here = [device.xp.array(array) for array in device.to(*arrays)]
    kernel(*here, **settings)
    return tuple(here)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=20)
@given(SIZES, st.sampled_from([1.0, 0.01]), st.booleans(), st.booleans(), SEEDS)
def test_a_step(device, name, precision, size, scale, scale_on_device, with_working, seed):
    """``precision`` is that of the gradient; all else is float32, and exact to that."""
    step, oracle, options, remembered = OPTIMIZERS[name]
    arrays = flat_arrays(precision, size, remembered, seed)
    working = device.to(rounded(np.full(size, 9.0), "bfloat16")) if with_working else None
    given_scale = device.xp.asarray(np.float32(scale)) if scale_on_device else scale
    found = device.in_every_order(
        lambda: stepped(device, step, arrays, **options, gradient_scale=given_scale, working=working)
    )
    expected = [array.astype(np.float64) for array in arrays]
    oracle(*expected, **options, gradient_scale=scale)
    for one, other in zip(found, expected, strict=True):
        close(device.back(one), other, 1e-6)
    np.testing.assert_array_equal(device.back(found[1]), arrays[1].astype(np.float64))
    if with_working:
        parameters = device.back(found[0]).astype(np.float32)
        np.testing.assert_array_equal(device.back(working), rounded(parameters, "bfloat16").astype(np.float64))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps(device, name):
    """Errors do not build up."""
    step, oracle, options, remembered = OPTIMIZERS[name]
    arrays = flat_arrays("float32", 300, remembered, 1)
    here, expected = [device.xp.array(a) for a in device.to(*arrays)], [a.astype(np.float64) for a in arrays]
    for number in range(1, 21):
        options = {**options, "step": number} if name == "adamw" else options
        step(*here, **options)
        oracle(*expected, **options)
    for one, other in zip(here, expected, strict=True):
        close(device.back(one), other, 1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parts_that_begin_anywhere(device, name):
    """A part of a flat array begins where 16 bytes cannot be read at once; what lies beside it is left alone."""
    step, oracle, options, remembered = OPTIMIZERS[name]
    arrays = flat_arrays("float32", 100, remembered, 2)
    here = [device.xp.array(array) for array in device.to(*arrays)]
    step(*(array[3:83] for array in here), **options)
    oracle(*(array[3:83] for array in arrays), **options)
    for one, other in zip(here, arrays, strict=True):
        np.testing.assert_array_equal(
            device.back(one)[[*range(3), *range(83, 100)]], other[[*range(3), *range(83, 100)]]
        )
        close(device.back(one), other.astype(np.float64), 1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("on_device", [True, False])
def test_after_a_bad_batch_nothing_changes(device, name, on_device):
    """Neither backend moves at a scale that is not a number, not even the working copy."""
    step, oracle, options, remembered = OPTIMIZERS[name]
    arrays = flat_arrays("float32", 40, remembered, 3)
    arrays[1][5] = np.inf
    working = rounded(np.full(40, 9.0), "bfloat16")
    here, working_here = [device.xp.array(a) for a in device.to(*arrays)], device.xp.array(device.to(working))
    scale = device.xp.asarray(np.float32(np.nan)) if on_device else math.nan
    step(*here, **options, gradient_scale=scale, working=working_here)
    there = [array.copy() for array in arrays]
    oracle(*there, **options, gradient_scale=np.float32(np.nan) if on_device else math.nan, working=working)
    for one, other, before in zip(here, there, arrays, strict=True):
        np.testing.assert_array_equal(device.back(one), before)
        np.testing.assert_array_equal(other, before)
    assert (device.back(working_here) == 9).all() and (working == 9).all()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_working_copy_on_the_cpu(name):
    _, oracle, options, remembered = OPTIMIZERS[name]
    arrays, working = flat_arrays("float32", 40, remembered, 4), rounded(np.zeros(40), "bfloat16")
    oracle(*arrays, **options, working=working)
    np.testing.assert_array_equal(working, rounded(arrays[0], "bfloat16"))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_arrays_of_another_size_are_refused(device, name):
    step, _, options, remembered = OPTIMIZERS[name]
    arrays = [device.xp.array(array) for array in device.to(*flat_arrays("float32", 40, remembered, 5))]
    with pytest.raises(ValueError, match=r"^gradient has shape \(39,\), expected \(40,\)$"):
        step(arrays[0], arrays[1][:39], *arrays[2:], **options)


@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=20)
@given(st.sampled_from([(0,), (1,), (7,), (3, 5, 16), (5001,)]), SEEDS)
def test_squared_norm(device, precision, shape, seed):
    x = rounded(np.random.default_rng(seed).normal(size=shape), precision)
    found = device.in_every_order(squared_norm.squared_norm, device.to(x))
    assert found.dtype == np.float32 and found.shape == ()
    assert float(found) == pytest.approx(np.sum(x.astype(np.float64) ** 2), rel=1e-6)


@pytest.mark.parametrize("size", [40_000, 40_001])
def test_squared_norm_of_many_numbers(device, size, monkeypatch):
    """Each thread sums several."""
    monkeypatch.setattr(squared_norm, "MOST_BLOCKS", 3)
    x = np.random.default_rng(0).normal(size=size).astype(np.float32)
    found = device.in_every_order(squared_norm.squared_norm, device.to(x))
    assert float(found) == pytest.approx(np.sum(x.astype(np.float64) ** 2), rel=1e-6)


def test_squared_norm_of_a_part_and_of_what_is_not_finite(device):
    x = np.random.default_rng(0).normal(size=(40, 40)).astype(np.float32)
    part, view = device.to(x.reshape(-1))[3:83], device.to(x)[:, ::3]
    assert float(squared_norm.squared_norm(part)) == pytest.approx(np.sum(x.reshape(-1)[3:83] ** 2.0), rel=1e-6)
    assert float(squared_norm.squared_norm(view)) == pytest.approx(np.sum(x[:, ::3] ** 2.0), rel=1e-6)
    x[0, 0] = np.nan
    assert math.isnan(float(squared_norm.squared_norm(device.to(x))))


@pytest.mark.parametrize(
    ("squares", "loss", "largest", "scale"),
    [
        (16.0, 2.0, 1.0, 0.25),
        (16.0, 2.0, 5.0, 1.0),
        (16.0, 2.0, 0.0, 1.0),
        (0.0, 2.0, 1.0, 1.0),
        (16.0, math.nan, 1.0, math.nan),
        (16.0, math.inf, 0.0, math.nan),
        (math.inf, 2.0, 1.0, math.nan),
        (math.nan, 2.0, 0.0, math.nan),
    ],
)
def test_clip_scale(device, squares, loss, largest, scale):
    on_device = [device.xp.asarray(np.float32(number)) for number in (squares, loss)]
    found = clip_scale.clip_scale(*on_device, largest)
    assert found.dtype == np.float32 and found.shape == ()
    np.testing.assert_equal(float(found), scale)
    np.testing.assert_equal(cpu.clip_scale.clip_scale(squares, loss, largest), scale)
    np.testing.assert_equal(cpu.clip_scale.clip_scale(squares, np.asarray(loss, np.float32), largest), scale)
