"""AdamW and SGD, step for step beside torch.optim; and that neither touches what it should not."""

import numpy as np
import pytest

from tinyvit.kernels import adamw_step, sgd_step, squared_norm
from tinyvit.kernels.cpu import blocks

STEPS = 20
# A few roundings, relative to the largest parameter.
TOLERANCE = 8 * np.finfo(np.float32).eps

ADAMW = {"learning_rate": 3e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.1}
SGD = {"learning_rate": 0.03, "momentum": 0.9, "weight_decay": 1e-2}


def start(count: int = 1000) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(count).astype(np.float32)


def gradient(step: int, count: int = 1000) -> np.ndarray:
    """Of widely different sizes, as a network's are."""
    random = np.random.default_rng([1, step])
    return (random.standard_normal(count) * 10.0 ** random.uniform(-6, 2, count)).astype(np.float32)


def run_adamw(parameter: np.ndarray, scales=None, **changes) -> np.ndarray:
    mean, variance = np.zeros_like(parameter), np.zeros_like(parameter)
    for step in range(1, STEPS + 1):
        scale = {"gradient_scale": scales[step - 1]} if scales else {}
        adamw_step(
            parameter, gradient(step, parameter.size), mean, variance, step=step, **{**ADAMW, **changes}, **scale
        )
    return parameter


def run_sgd(parameter: np.ndarray, scales=None, **changes) -> np.ndarray:
    velocity = np.zeros_like(parameter)
    for step in range(1, STEPS + 1):
        scale = {"gradient_scale": scales[step - 1]} if scales else {}
        sgd_step(parameter, gradient(step, parameter.size), velocity, **{**SGD, **changes}, **scale)
    return parameter


def run_torch(make_optimizer, clip: float | None = None) -> tuple[np.ndarray, list[float]]:
    """The parameter after torch's steps, and by how much clipping scaled each gradient."""
    torch = pytest.importorskip("torch", reason="compares with PyTorch (extra `parity`)")
    parameter = torch.nn.Parameter(torch.from_numpy(start()))
    optimizer, scales = make_optimizer(torch.optim, parameter), []
    for step in range(1, STEPS + 1):
        parameter.grad = torch.from_numpy(gradient(step))
        if clip is not None:
            norm = torch.nn.utils.clip_grad_norm_([parameter], clip).item()
            scales.append(min(1.0, clip / norm))
        optimizer.step()
    return parameter.detach().numpy(), scales


def torch_adamw(optim, parameter):
    return optim.AdamW([parameter], lr=3e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1)


def torch_sgd(optim, parameter):
    return optim.SGD([parameter], lr=0.03, momentum=0.9, weight_decay=1e-2)


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()
    assert np.abs(found - start()).max() > 0.01  # it did move


@pytest.mark.parity
@pytest.mark.parametrize(("run", "oracle"), [(run_adamw, torch_adamw), (run_sgd, torch_sgd)])
def test_twenty_steps_agree_with_torch(run, oracle):
    assert_same(run(start()), run_torch(oracle)[0])


@pytest.mark.parity
@pytest.mark.parametrize(("run", "oracle"), [(run_adamw, torch_adamw), (run_sgd, torch_sgd)])
def test_the_gradient_scale_is_torch_clipping(run, oracle):
    expected, scales = run_torch(oracle, clip=500.0)
    assert min(scales) < 1 and max(scales) == 1  # some steps are clipped, some are not
    assert_same(run(start(), scales), expected)


@pytest.mark.parametrize("run", [run_adamw, run_sgd])
def test_the_scale_is_a_scaled_gradient(run):
    """Exactly so for a power of two."""
    doubled = start()
    if run is run_sgd:
        velocity = np.zeros_like(doubled)
        for step in range(1, STEPS + 1):
            sgd_step(doubled, 2 * gradient(step), velocity, **SGD)
    else:
        mean, variance = np.zeros_like(doubled), np.zeros_like(doubled)
        for step in range(1, STEPS + 1):
            adamw_step(doubled, 2 * gradient(step), mean, variance, step=step, **ADAMW)
    np.testing.assert_array_equal(run(start(), [2.0] * STEPS), doubled)


@pytest.mark.parametrize("run", [run_adamw, run_sgd])
def test_blocks_change_nothing(run, monkeypatch):
    expected = run(start())
    monkeypatch.setattr(blocks, "BLOCK_NUMBERS", 300)
    np.testing.assert_array_equal(run(start()), expected)


def test_the_gradient_is_left_alone_and_the_state_changes_in_place():
    parameter, g = start(), gradient(1)
    mean, variance, velocity = np.zeros_like(g), np.zeros_like(g), np.zeros_like(g)
    g.setflags(write=False)
    adamw_step(parameter, g, mean, variance, step=1, **ADAMW)
    sgd_step(parameter, g, velocity, **SGD)
    np.testing.assert_allclose(mean, 0.1 * g, rtol=1e-6)
    np.testing.assert_allclose(variance, 0.001 * g * g, rtol=1e-5)
    assert (parameter != start()).all()


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_adamw_decay_stands_apart_from_the_gradient(weight_decay):
    """With a zero gradient a step only shrinks the parameter, by learning rate times decay."""
    parameter, zeros = start(), np.zeros(1000, np.float32)
    settings = {**ADAMW, "weight_decay": weight_decay}
    adamw_step(parameter, zeros, zeros.copy(), zeros.copy(), step=1, **settings)
    np.testing.assert_allclose(parameter, start() * (1 - 3e-3 * weight_decay), rtol=1e-6)


def test_squared_norm():
    x = np.random.default_rng(3).standard_normal((30, 40)).astype(np.float32)
    assert squared_norm(x) == pytest.approx(np.sum(x.astype(np.float64) ** 2), rel=1e-6)


@pytest.mark.filterwarnings("error")
def test_squared_norm_beyond_float32_is_infinite_without_a_warning():
    """An exploded gradient is told by the step's result, not by a warning from a worker's thread."""
    assert squared_norm(np.full(10, 1e30, np.float32)) == np.inf
