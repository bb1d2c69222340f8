"""One training step, however it is cut into workers and rounds."""

import platform
import subprocess
import sys

import numpy as np
import pytest
from small_models import CONFIG, batch, model, trained

from tinyvit.data.mix import one_hot
from tinyvit.training import Recipe
from tinyvit.training.step import TrainStep, smoothed
from tinyvit.training.workers import Workers


def gradient(recipe: Recipe, count: int) -> tuple[np.ndarray, float, int]:
    """The gradient of the first step before clipping, its loss, and how many images were right."""
    with Workers(recipe.workers) as workers:
        state = TrainStep(model(), recipe, workers)
        result = state(*batch(count), 0, 0.0)
        return state._gradients[0].copy(), result.loss, result.correct


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("count", [12, 11, 2])
def test_any_split_gives_the_same_gradient(loss, workers, accumulate, count):
    whole, loss_of_whole, right = gradient(Recipe(loss=loss), count)
    parts, loss_of_parts, right_of_parts = gradient(Recipe(loss=loss, workers=workers, accumulate=accumulate), count)
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-6 * np.abs(whole).max())
    assert loss_of_parts == pytest.approx(loss_of_whole, rel=1e-6)
    assert right_of_parts == right


@pytest.mark.parametrize("workers, accumulate", [(2, 1), (3, 2), (1, 3)])
def test_any_split_trains_to_the_same_parameters(workers, accumulate):
    # SGD, since AdamW divides by the gradient's size and so makes much of rounding where that is close to zero.
    options = {"optimizer": "sgd", "ema": 0.9, "label_smoothing": 0.1}
    whole = trained(6, Recipe(**options), count=11)
    parts = trained(6, Recipe(workers=workers, accumulate=accumulate, **options), count=11)
    np.testing.assert_allclose(parts.flat.data, whole.flat.data, atol=2e-6)
    np.testing.assert_allclose(parts.average, whole.average, atol=2e-6)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_same_workers_give_the_same_bytes(workers):
    recipe = Recipe(workers=workers, accumulate=2, ema=0.9)
    one, two = (trained(5, recipe, dropout=0.2, stochastic_depth=0.3) for _ in range(2))
    assert one.flat.data.tobytes() == two.flat.data.tobytes()
    assert one.average.tobytes() == two.average.tobytes()


def test_dropout_depends_on_seed_step_and_share():
    def loss(seed: int = 0, step: int = 0, workers: int = 1) -> float:
        with Workers(workers) as threads:
            state = TrainStep(model(dropout=0.5), Recipe(seed=seed, workers=workers), threads)
            images, labels = batch(1)
            # Two equal halves: they differ only by what is dropped.
            return state(np.concatenate([images, images]), np.concatenate([labels, labels]), step, 0.0).loss

    assert loss() == loss()
    assert loss(step=3) == loss(step=3)
    assert len({loss(), loss(seed=1), loss(step=1)}) == 3
    with Workers(1) as one:
        alone = TrainStep(model(dropout=0.5), Recipe(), one)
        assert loss(workers=2) != pytest.approx(alone(*batch(1), 0, 0.0).loss), "both shares dropped the same"


def test_the_moving_average_follows_its_formula():
    decay = 0.6
    with Workers(2) as workers:
        state = TrainStep(model(), Recipe(ema=decay, workers=2), workers)
        expected = state.flat.data.astype(float)
        for step in range(12):
            state(*batch(seed=step), step, 1e-2)
            keep = min(decay, (1 + step) / (10 + step))
            expected = keep * expected + (1 - keep) * state.flat.data
    np.testing.assert_allclose(state.average, expected, atol=1e-6)
    assert np.abs(state.average - state.flat.data).max() > 1e-3
    assert state.evaluated_parameters is state.average


def test_without_an_average_the_parameters_are_evaluated():
    state = trained(1, Recipe())
    assert state.average is None and state.evaluated_parameters is state.flat.data


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_loss_that_is_no_number_changes_nothing(optimizer, poison):
    with Workers(2) as workers:
        state = TrainStep(model(), Recipe(optimizer=optimizer, ema=0.9, workers=2), workers)
        images, labels = batch()
        state(images, labels, 0, 1e-2)
        held = [state.flat.data, state.average, *state.optimizer.state.values()]
        before = [array.copy() for array in held]
        images[-1, 0, 0, 0] = poison
        result = state(images, labels, 1, 1e-2)
    assert not np.isfinite(result.loss)
    for array, old in zip(held, before, strict=True):
        np.testing.assert_array_equal(array, old)


def test_clipping_limits_the_step_and_reports_the_whole_norm():
    free, clipped = (trained(1, Recipe(optimizer="sgd", weight_decay=0, clip=clip)) for clip in (0, 1e-3))
    start = model()
    moved = [
        np.sqrt(
            sum(
                np.sum((new.data - old.data).astype(float) ** 2)
                for new, old in zip(state.model.parameters(), start.parameters(), strict=True)
            )
        )
        for state in (free, clipped)
    ]
    assert moved[1] == pytest.approx(1e-2 * 1e-3, rel=0.02)
    assert moved[0] > 100 * moved[1]


def test_smoothed_targets():
    labels = np.array([0, 4])
    np.testing.assert_array_equal(smoothed(labels, 5, 0.0), np.eye(5, dtype=np.float32)[labels])
    np.testing.assert_allclose(smoothed(labels, 5, 0.1)[1], [0.02, 0.02, 0.02, 0.02, 0.92], rtol=1e-6)
    soft = np.array([[0.25, 0.75, 0, 0, 0]], np.float32)
    np.testing.assert_array_equal(smoothed(soft, 5, 0.0), soft)
    result = smoothed(soft, 5, 0.2)
    np.testing.assert_allclose(result, [[0.24, 0.64, 0.04, 0.04, 0.04]], rtol=1e-6)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(soft, [[0.25, 0.75, 0, 0, 0]])


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_labels_are_soft_targets_that_are_sure(loss):
    images, labels = batch()
    results = []
    for targets in (labels, one_hot(labels, CONFIG.classes)):
        with Workers(1) as workers:
            results.append(TrainStep(model(), Recipe(loss=loss, label_smoothing=0.1), workers)(images, targets, 0, 0.1))
    assert results[0] == results[1]


@pytest.mark.parametrize("optimizer, learning_rate", [("adamw", 2e-2), ("sgd", 0.2)])
@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_one_batch_is_learned_by_heart(optimizer, learning_rate, loss):
    with Workers(1) as workers:
        state = TrainStep(model(), Recipe(optimizer=optimizer, loss=loss, weight_decay=0.0), workers)
        images, labels = batch(16)
        for step in range(500):
            result = state(images, labels, step, learning_rate)
            if result.loss < 1e-3:
                break
    assert result.loss < 1e-3 and result.correct == 16


COUNT_FAULTS = """
import resource
import numpy as np
from tinyvit.models import ViT, ViTConfig
from tinyvit.training import Recipe, TrainStep, Workers

config = ViTConfig.named("nano", image_size=28, patch_size=7, channels=1, classes=10)
images, labels = np.zeros((64, 28, 28, 1), np.float32), np.zeros(64, int)
with Workers(1) as workers:
    step = TrainStep(ViT(config, seed=0), Recipe(), workers)
    for number in range(10):
        if number == 5:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        step(images, labels, number, 1e-3)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 5)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_a_step_takes_the_memory_of_the_step_before():
    """In a process of its own, as a notebook is: no command has set anything there."""
    done = subprocess.run([sys.executable, "-c", COUNT_FAULTS], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 200, "pages that come fresh from the system, in each step"
