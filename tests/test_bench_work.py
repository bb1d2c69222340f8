"""How much work the benchmark says a kernel has to do, next to counts made by hand."""

import numpy as np
import pytest

from tinyvit import kernels
from tinyvit.benchmark.breakdown import REST, breakdown, kernels_called_through
from tinyvit.benchmark.work import FLOP, Work, work_of
from tinyvit.models import ViT, ViTConfig
from tinyvit.training import Recipe
from tinyvit.training.step import TrainStep
from tinyvit.training.workers import Workers

FLOAT = 4  # bytes


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def work(name: str, *args, **kwargs) -> Work:
    kernel = getattr(kernels, name)
    return work_of(name, kernel, args, kwargs, kernel(*args, **kwargs))


def test_every_kernel_of_the_table_is_counted():
    assert set(FLOP) == {name for names in kernels.KERNELS.values() for name in names}


def test_linear():
    # 6 rows of 5 to 7: 6 x 7 results, each 5 multiply-adds and the bias.
    x, weight, bias = numbers(2, 3, 5), numbers(5, 7), numbers(7)
    assert work("linear_forward", x, weight, bias) == (42 * (2 * 5 + 1), FLOAT * (30 + 35 + 7 + 42))


@pytest.mark.parametrize("needs_dx", [True, False])
def test_linear_backward(needs_dx):
    dout, x, weight = numbers(2, 3, 7), numbers(2, 3, 5), numbers(5, 7)
    # dW and, where wanted, dx are 210 multiply-adds each; db sums 42 numbers.
    flop = (2 if needs_dx else 1) * 2 * 210 + 42
    moved = FLOAT * (42 + 30 + 35 + 35 + 7 + (30 if needs_dx else 0))
    assert work("linear_backward", dout, x, weight, needs_dx=needs_dx) == (flop, moved)


def test_mlp_forward():
    # 6 rows of 4 to 8 to 4: two products of 192 multiply-adds, biases of 8 and 4, and GELU on 48 numbers.
    given = numbers(6, 4), numbers(4, 8), numbers(8), numbers(8, 4), numbers(4)
    assert work("mlp_forward", *given, "tanh", False).flop == 2 * 2 * 192 + 6 * 12 + 48 * 8
    trained = work("mlp_forward", *given, "tanh", True)
    assert trained.flop == 2 * 2 * 192 + 6 * 12 + 48 * 14
    assert trained.bytes == FLOAT * (24 + 32 + 8 + 32 + 4 + 24 + 2 * 48)  # saved: gelu's result and slope


def test_mlp_backward():
    x, weight1, bias1, weight2, bias2 = numbers(6, 4), numbers(4, 8), numbers(8), numbers(8, 4), numbers(4)
    _, hidden, derivative = kernels.mlp_forward(x, weight1, bias1, weight2, bias2, "tanh", True)
    found = work("mlp_backward", numbers(6, 4), x, hidden, derivative, weight1, weight2)
    assert found.flop == 4 * 2 * 192 + 2 * 48 + 24


@pytest.mark.parametrize("asking", [5, 1])
def test_attention(asking):
    # Batch 2, 3 heads of width 4 over 5 tokens: q k^T and A v are 4 multiply-adds for each of the weights.
    weights = 2 * 3 * asking * 5
    qkv = numbers(2, 5, 3 * 12)
    forward = work("attention_forward", qkv, 3, asking)
    assert forward.flop == weights * (2 * 2 * 4 + 6)
    assert forward.bytes >= FLOAT * (qkv.size + 2 * asking * 12)
    out, *saved = kernels.attention_forward(qkv, 3, asking)
    backward = work("attention_backward", numbers(*out.shape), qkv, *saved, out, 3)
    assert backward.flop == weights * (4 * 2 * 4 + 3) + 2 * out.size


def test_layer_norm():
    x = numbers(6, 8)
    forward = work("layer_norm_forward", x, numbers(8), numbers(8), 1e-6)
    assert forward.flop == 7 * 48
    assert forward.bytes >= FLOAT * (48 + 8 + 8 + 48)


def test_add_layer_norm():
    x, gamma = numbers(6, 8), numbers(8)
    forward = work("add_layer_norm_forward", x, numbers(6, 8), gamma, numbers(8), 1e-6)
    assert forward.flop == 8 * 48
    _, y, *saved = kernels.add_layer_norm_forward(x, numbers(6, 8), gamma, numbers(8), 1e-6)
    assert work("add_layer_norm_backward", y, y, *saved, gamma).flop == 12 * 48


def test_single_numbers():
    assert work("clip_scale", 4.0, 1.0, 1.0) == (4, FLOAT)


def test_what_changes_in_place_moves_twice():
    parameter, gradient, mean, variance = (numbers(10) for _ in range(4))
    settings = {"step": 1, "learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1}
    assert work("adamw_step", parameter, gradient, mean, variance, **settings) == (150, FLOAT * (4 + 3) * 10)


def test_intensity():
    assert Work(flop=30, bytes=10).intensity == 3


# The breakdown


@pytest.fixture(scope="module")
def parts():
    """The breakdown of a training step with two workers."""
    config = ViTConfig(image_size=8, patch_size=4, width=16, depth=2, heads=2, mlp_width=32, classes=5)
    images = np.random.default_rng(0).random((6, 8, 8, 3), dtype=np.float32)
    labels = np.arange(6) % 5
    with Workers(2) as workers:
        step = TrainStep(ViT(config), Recipe(batch_size=6, workers=2), workers)
        return breakdown(lambda: step(images, labels, 0, 1e-3), repeats=3, workers=2)


def test_shares_sum_to_one(parts):
    assert parts[-1].name == REST
    assert sum(part.share for part in parts) == pytest.approx(1)
    assert all(0 < part.share < 1 and part.seconds > 0 for part in parts)
    assert [part.seconds for part in parts[:-1]] == sorted((part.seconds for part in parts[:-1]), reverse=True)


def test_calls_and_work_are_those_of_a_step(parts):
    by_name = {part.name: part for part in parts}
    assert by_name["mlp_forward"].calls == 2 * 2  # blocks x workers
    assert by_name["layer_norm_backward"].calls == (2 + 1) * 2  # before each attention, and at the end
    assert by_name["add_layer_norm_backward"].calls == 2 * 2  # after it
    # Two blocks, in one of which only the class token asks: rows of (5 tokens and 1) x 6 images.
    rows = (5 + 1) * 6
    assert by_name["mlp_backward"].work.flop == rows * (4 * 2 * 16 * 32 + 2 * 32 + 16)
    for part in parts[:-1]:
        assert part.gflops == pytest.approx(part.work.flop / part.seconds / 1e9)
        assert part.bandwidth == pytest.approx(part.work.bytes / part.seconds / 1e9)


def test_kernels_are_as_before_afterwards():
    before = {name: getattr(kernels, name) for name in FLOP}
    with pytest.raises(ZeroDivisionError), kernels_called_through(lambda name, kernel, args, kwargs: 1 / 0):
        kernels.squared_norm(numbers(3))
    assert {name: getattr(kernels, name) for name in FLOP} == before
