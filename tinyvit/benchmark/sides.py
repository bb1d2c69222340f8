"""The two sides of a comparison, as what a measuring process runs: one step after the other, timed."""

import time
from collections.abc import Callable

import numpy as np

from tinyvit.autograd import no_grad
from tinyvit.benchmark import memory
from tinyvit.benchmark.breakdown import Part, breakdown, tokens_asking_last
from tinyvit.benchmark.machine import busy_seconds
from tinyvit.benchmark.rows import Row
from tinyvit.models import ViT
from tinyvit.runtime import keep_freed_memory
from tinyvit.training import Recipe
from tinyvit.training.step import TrainStep
from tinyvit.training.workers import Workers, split

# So small that the model stays as it started however many steps are timed: numbers that have become tiny are slow.
LEARNING_RATE = 1e-6
WEIGHT_DECAY = 0.05
CLIP = 1.0


class Side:
    """A model with a batch of images and what it does with them, the ``task``: "training" or "inference".

    A subclass makes the model in ``__init__``, after a call of :meth:`starts`, and sets ``step``.
    """

    step: Callable[[], None]
    """Train on the batch, or compute its logits."""

    def starts(self) -> None:
        """Call when all is imported and nothing made."""
        self._before = memory.resident_bytes()
        self._waiting_since = time.process_time()

    def turn(self, steps: int) -> dict[str, float]:
        """Take so many steps. Gives seconds a step; how many cores other programs kept busy meanwhile; and seconds that
        this process computed since its last turn: next to none, or its threads would have disturbed the other side."""
        waited = time.process_time() - self._waiting_since
        start, busy, own = time.perf_counter(), busy_seconds(), time.process_time()
        for _ in range(steps):
            self.step()
        seconds = time.perf_counter() - start
        others = max(0.0, (busy_seconds() - busy) - (time.process_time() - own)) / seconds
        time.sleep(0.05)  # threads that wait for more spin for a while before they sleep
        self._waiting_since = time.process_time()
        return {"seconds": seconds / steps, "others": others, "computed_while_waiting": waited}

    def memory(self) -> dict[str, int]:
        """Bytes: the process's peak, and what of that came after the imports."""
        peak = memory.peak_bytes()
        return {"peak": peak, "net": peak - self._before}


class Ours(Side):
    """tinyvit, as the train and evaluate commands run it."""

    def __init__(self, row: Row, task: str, workers: int):
        keep_freed_memory()
        self.starts()
        model = ViT(row.config, seed=0)
        images, labels = row.batch()
        self.workers = Workers(workers).__enter__()  # until the process ends
        if task == "training":
            recipe = Recipe(weight_decay=WEIGHT_DECAY, clip=CLIP, batch_size=row.batch_size, workers=workers)
            train = TrainStep(model, recipe, self.workers)
            self._steps = 0

            def step() -> None:
                train(images, labels, self._steps, LEARNING_RATE)
                self._steps += 1
        else:
            parts = split(len(images), workers)

            def classify(part: slice) -> np.ndarray:
                with no_grad():
                    return model(images[part]).data

            def step() -> None:
                np.concatenate(self.workers.map(classify, parts))

        self.step = step

    def breakdown(self, steps: int) -> list[Part]:
        """The parts of a step; see :func:`tinyvit.benchmark.breakdown.breakdown`."""
        return breakdown(self.step, steps, self.workers.count)

    def tokens_asking_last(self) -> int:
        """See :func:`tinyvit.benchmark.breakdown.tokens_asking_last`."""
        return tokens_asking_last(self.step)


class Theirs(Side):
    """PyTorch, with the same weights at the start and the same batch."""

    def __init__(self, row: Row, task: str, threads: int, compiled: bool):
        import torch

        from tinyvit.benchmark.torch_model import TorchViT, optimizer

        torch.set_num_threads(threads)
        self.starts()
        network = TorchViT(row.config)
        network.load(ViT(row.config, seed=0))
        model = torch.compile(network) if compiled else network
        images, labels = (torch.from_numpy(array) for array in row.batch())
        images = images.permute(0, 3, 1, 2).contiguous()  # PyTorch's own order: channels before rows
        if task == "training":
            adamw = optimizer(network, LEARNING_RATE, WEIGHT_DECAY)

            def step() -> None:
                adamw.zero_grad()
                loss = torch.nn.functional.cross_entropy(model(images), labels)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
                adamw.step()
                loss.item()
        else:
            network.eval()

            def step() -> None:
                with torch.inference_mode():
                    model(images)

        self.step = step
