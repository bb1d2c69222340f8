"""The training loop."""

import dataclasses
import math
import time
from typing import Protocol

from tinyvit.data import Dataset, Loader, device_batches
from tinyvit.device import CPU, Device
from tinyvit.models import ViT
from tinyvit.training.evaluation import Evaluation, evaluate
from tinyvit.training.interrupt import interruptible
from tinyvit.training.recipe import Recipe
from tinyvit.training.run import Progress, Run
from tinyvit.training.schedule import learning_rate_at
from tinyvit.training.step import StepResult, TrainStep, read
from tinyvit.training.workers import Workers

READ_EVERY = 20  # steps on a GPU between two looks at their losses: each look waits until all that is queued is done


class Diverged(RuntimeError):
    """The loss, the gradient or a weight is no longer a number."""


class Report(Protocol):
    """What the loop tells while it runs."""

    def start(self, progress: Progress, steps_an_epoch: int) -> None: ...

    def step(self, progress: Progress) -> None: ...

    def epoch(self, row: dict) -> None: ...


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended: all it did, and whether it was interrupted."""

    progress: Progress
    interrupted: bool


def fit(run: Run, train: Dataset, test: Dataset, report: Report, device: Device = CPU) -> Outcome:
    """Train from the run's checkpoint, or from the start, to its last epoch; save after each.

    With the same settings and device the result is the same to the last bit, however often it was stopped and resumed.

    Raises:
        Diverged: the loss is no longer finite; the checkpoint of the last whole epoch stays.
        InputError: a checkpoint that cannot be read, or a file that cannot be written.
    """
    recipe = run.settings.recipe
    model = ViT(run.settings.model, seed=recipe.seed, embedding_std=recipe.embedding_std)
    loader = Loader(
        train,
        recipe.batch_size,
        seed=recipe.seed,
        augmentation=recipe.augmentation,
        prepare=model.config.preprocessing.prepare,
    )
    with Workers(1 if device.is_gpu else recipe.workers) as workers, interruptible() as interrupted:
        state = TrainStep(model, recipe, workers, device)
        progress = run.load_checkpoint(state)
        report.start(progress, loader.steps)
        while progress.epoch < recipe.epochs:
            _run_epoch(state, loader, progress, report, interrupted)
            if not device.xp.isfinite(state.flat.data).all():  # the last step's update may have been too large
                raise Diverged(f"a weight is no longer a number at epoch {progress.epoch + 1}, step {progress.step}")
            if progress.step < loader.steps:
                run.save_checkpoint(state, progress)
                return Outcome(progress, True)
            with state.flat.replaced_by(state.evaluated_parameters):
                evaluation = evaluate(model, test, workers, device)
            if not math.isfinite(evaluation.loss):
                raise Diverged(f"the test loss is no longer a number after epoch {progress.epoch + 1}")
            row = _finish_epoch(progress, evaluation, recipe, loader.steps)
            improved = progress.best is row
            run.save_epoch(state, progress, train.class_names, improved)
            report.epoch(row)
            if interrupted():
                return Outcome(progress, progress.epoch < recipe.epochs)
    return Outcome(progress, False)


def _run_epoch(state: TrainStep, loader: Loader, progress: Progress, report: Report, interrupted) -> None:
    """Steps to the end of the epoch, or to the one after which an interruption was asked for."""
    unread: list[StepResult] = []
    since = time.perf_counter()
    read_every = READ_EVERY if state.device.is_gpu else 1
    for images, targets in device_batches(loader, progress.epoch, progress.step, state.device):
        step = progress.epoch * loader.steps + progress.step + len(unread)
        unread.append(state(images, targets, step, _learning_rate(state.recipe, loader.steps, step)))
        stop = interrupted()
        if not stop and len(unread) < read_every and progress.step + len(unread) < loader.steps:
            continue
        for result in read(unread):
            _count(result, len(images), progress)
        unread.clear()
        now = time.perf_counter()
        progress.seconds, since = progress.seconds + now - since, now
        report.step(progress)
        if stop:
            return


def _count(result: StepResult, images: int, progress: Progress) -> None:
    """Add one step to the progress.

    Raises:
        Diverged: its loss or gradient is not finite.
    """
    if not (math.isfinite(result.loss) and math.isfinite(result.gradient_norm)):
        what = "loss" if not math.isfinite(result.loss) else "gradient"
        raise Diverged(f"the {what} is no longer a number at epoch {progress.epoch + 1}, step {progress.step + 1}")
    progress.step += 1
    progress.loss += result.loss * images
    progress.correct += result.correct
    progress.images += images


def _learning_rate(recipe: Recipe, steps_an_epoch: int, step: int) -> float:
    return learning_rate_at(
        step,
        peak=recipe.learning_rate,
        steps=recipe.epochs * steps_an_epoch,
        warmup_steps=round(recipe.warmup_epochs * steps_an_epoch),
        schedule=recipe.schedule,
    )


def _finish_epoch(progress: Progress, evaluation: Evaluation, recipe: Recipe, steps_an_epoch: int) -> dict:
    """Add the epoch's row to the history and start counting the next epoch."""
    last_step = (progress.epoch + 1) * steps_an_epoch - 1
    row = {
        "epoch": progress.epoch + 1,
        "train_loss": progress.loss / progress.images,
        "train_accuracy": progress.correct / progress.images,
        "test_loss": evaluation.loss,
        "test_accuracy": evaluation.accuracy,
        "learning_rate": _learning_rate(recipe, steps_an_epoch, last_step),
        "images_per_second": progress.images / progress.seconds,
        "seconds": progress.seconds,
    }
    progress.history.append(row)
    progress.epoch += 1
    progress.step = progress.correct = progress.images = 0
    progress.loss = progress.seconds = 0.0
    return row
