"""One training step: a batch in, better parameters out."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tinyvit import kernels
from tinyvit.autograd import gradients, sigmoid_cross_entropy, softmax_cross_entropy
from tinyvit.data.mix import one_hot
from tinyvit.device import CPU, Device, array_module, is_gpu_array
from tinyvit.models import ViT
from tinyvit.nn import training_mode
from tinyvit.runtime import keep_freed_memory
from tinyvit.training.flat import FlatParameters
from tinyvit.training.optimizers import SGD, AdamW
from tinyvit.training.recipe import Recipe
from tinyvit.training.workers import Workers, split

LOSSES = {"softmax": softmax_cross_entropy, "sigmoid": sigmoid_cross_entropy}


@dataclasses.dataclass(frozen=True)
class StepResult:
    """The mean loss over the batch, how many images were classified correctly, the gradient's norm before clipping.

    Numbers; after a step on a GPU arrays that may not be computed yet, see :func:`read`.
    """

    loss: float
    correct: int
    gradient_norm: float


def read(results: Sequence[StepResult]) -> list[StepResult]:
    """The results as numbers. Waits for the GPU, once for all of them."""
    if not results or not is_gpu_array(results[0].loss):
        return list(results)
    xp = array_module(results[0].loss)
    rows = xp.stack([xp.stack([r.loss, r.correct, r.gradient_norm]) for r in results]).get()
    return [StepResult(float(loss), int(correct), float(norm)) for loss, correct, norm in rows]


class TrainStep:
    """The state that changes from step to step, and the step itself.

    On a GPU the step only queues work: nothing in it waits for a number. On a CPU it has the whole process keep freed
    memory for the next step (:func:`tinyvit.runtime.keep_freed_memory`), so that in a notebook it takes no longer than
    in ``python -m tinyvit.train``.

    Attributes:
        flat: the model's parameters.
        average: an exponential moving average of them (Polyak averaging, paper Table 2), or None.
    """

    def __init__(self, model: ViT, recipe: Recipe, workers: Workers, device: Device = CPU):
        if not device.is_gpu:
            keep_freed_memory()
        self.model, self.recipe, self.workers, self.device = model, recipe, workers, device
        self.flat = FlatParameters(model, device)
        if recipe.optimizer == "adamw":
            self.optimizer = AdamW(self.flat, recipe.weight_decay, beta2=recipe.beta2)
        else:
            self.optimizer = SGD(self.flat, recipe.weight_decay)
        self.average = self.flat.data.copy() if recipe.ema else None
        # Sums of several gradients are kept in float32.
        once = recipe.accumulate == 1
        self._gradients = [self.flat.zero_gradients() if once else self.flat.zeros() for _ in range(workers.count)]

    @property
    def evaluated_parameters(self):
        """What is evaluated and saved as the model: the average if there is one."""
        return self.flat.data if self.average is None else self.average

    def __call__(self, images, targets, step: int, learning_rate: float) -> StepResult:
        """Run step number ``step`` (from 0): images (B, H, W, C), targets int labels (B,) or distributions (B, K).

        A loss or gradient that is not finite changes nothing and is returned as it is.
        """
        targets = smoothed(targets, self.model.config.classes, self.recipe.label_smoothing)
        loss, correct = self._accumulate(images, targets, step)
        squared_norm = sum(self.workers.map(self._summed_squares, self.flat.parts(self.workers.count)))
        scale = kernels.clip_scale(squared_norm, loss, self.recipe.clip)
        self.workers.map(
            lambda part: self._update(*part, scale, learning_rate, step),
            self.flat.parts(self.workers.count),
        )
        return StepResult(loss, correct, squared_norm**0.5)

    def _accumulate(self, images, targets, step: int) -> tuple[float, int]:
        """Leave in each worker's gradient array the gradient of its share of the batch's mean loss."""
        used = self.workers.count * self.recipe.accumulate
        shares = split(len(images), used)
        for gradient in self._gradients:
            gradient.fill(0)
        loss, correct = 0.0, 0
        # With accumulation the batch passes in several rounds, of which only one at a time takes memory.
        for first in range(0, len(shares), self.workers.count):
            indices = range(first, min(first + self.workers.count, len(shares)))
            for part in self.workers.map(lambda i: self._share(images, targets, shares[i], i, step), indices):
                loss += part[0]
                correct += part[1]
        return loss, correct

    def _share(self, images, targets, share: slice, index: int, step: int) -> tuple[float, int]:
        images_here, targets_here = images[share], targets[share]
        fraction = len(images_here) / len(images)
        # Random numbers that depend on (seed, step, share) alone, so that a resumed run draws the same. The spawn key
        # sets them apart from those of the loader, which depend on (seed, epoch, batch).
        stream = np.random.SeedSequence([self.recipe.seed, step, index], spawn_key=(1,))
        with training_mode(np.random.default_rng(stream)):
            logits = self.model(images_here)
            loss = LOSSES[self.recipe.loss](logits, targets_here)
        correct = (logits.data.astype(np.float32).argmax(axis=1) == targets_here.argmax(axis=1)).sum()
        found = gradients(loss, self.flat.parameters, fraction)
        own = self._gradients[index % self.workers.count]
        if self.recipe.accumulate == 1:
            self.flat.gather(found, out=own)
        else:
            own += self.flat.gather(found, out=self.flat.zero_gradients())
        if self.device.is_gpu:
            return loss.data * fraction, correct
        return loss.item() * fraction, int(correct)

    def _summed_squares(self, part: tuple[slice, bool]):
        """Sum the workers' gradients into the first one's, always in the same order; give the sum of squares."""
        total = self._gradients[0][part[0]]
        for other in self._gradients[1:]:
            total += other[part[0]]
        return kernels.squared_norm(total)

    def _update(self, part: slice, decays: bool, scale, learning_rate: float, step: int) -> None:
        self.optimizer.update(part, decays, self._gradients[0], scale, learning_rate, step + 1)
        if self.average is not None:
            # Early on the average must forget the random start faster than it will later.
            keep = min(self.recipe.ema, (1 + step) / (10 + step))
            average = self.average[part]
            # Where the scale is not a number nothing moves; a number equals itself, NaN does not.
            average += np.float32(1 - keep) * (scale == scale) * (self.flat.data[part] - average)


def smoothed(targets, classes: int, label_smoothing: float):
    """Targets as distributions (B, K), a share ``label_smoothing`` of each spread evenly (Szegedy et al., 2016)."""
    if targets.ndim == 1:
        targets = one_hot(targets, classes)
    if label_smoothing:
        targets = targets * np.float32(1 - label_smoothing) + np.float32(label_smoothing / classes)
    return targets
