"""Batches for training and evaluation: seeded order, augmentation, a thread that works ahead."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from tinyvit.data.augment import NO_AUGMENTATION, Augmentation, augment
from tinyvit.data.dataset import Dataset
from tinyvit.device import array_module
from tinyvit.errors import InputError

PREFETCH = 4  # batches made ahead: enough to even out slow ones, few enough to be light on memory

Batch = TypeVar("Batch")


def normalise(images: np.ndarray, mean: Sequence[float] = (0.5,), std: Sequence[float] = (0.5,)) -> np.ndarray:
    """Pixels from 0..255, as shares p of 255, to (p - mean) / std: by default to -1..1.

    images: (B, H, W, C). mean and std: one number, or one for each channel. Returns float32, C-contiguous, the same
    shape. Raises ValueError for a mean and a std of another number of channels.
    """
    if len(mean) not in (1, images.shape[-1]):
        raise ValueError(f"images of {images.shape[-1]} channels cannot be normalised with mean {mean} and std {std}")
    xp = array_module(images)
    scale, shift = 255 * np.array(std), np.array(mean) / std
    scaled = xp.divide(xp.ascontiguousarray(images), xp.asarray(scale, np.float32), dtype=np.float32)
    scaled -= xp.asarray(shift, np.float32)
    return scaled


class Loader:
    """Cuts a data set into batches whose content depends only on (seed, epoch, batch index).

    Raises InputError for a batch size below 1, a negative seed, an empty data set, or, with ``drop_last``,
    a batch size beyond the size of the data set.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        *,
        seed: int,
        augmentation: Augmentation = NO_AUGMENTATION,
        shuffle: bool = True,
        drop_last: bool = True,
        prepare: Callable[[np.ndarray], np.ndarray] = normalise,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch size is {batch_size}: give at least 1")
        if seed < 0:
            raise InputError(f"seed is {seed}: give 0 or more")
        if not len(dataset):
            raise InputError(f"data set {dataset.name!r} holds no images: give at least one")
        if drop_last and len(dataset) < batch_size:
            raise InputError(
                f"batch size {batch_size} is more than the {len(dataset)} images of {dataset.name!r}: "
                f"lower it to {len(dataset)} or less"
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.augmentation = augmentation
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.prepare = prepare

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole if self.drop_last or not rest else whole + 1

    def batches(self, epoch: int, start: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields batches ``start``, ``start + 1``, ... of ``epoch``: (images, targets).

        images: float32 (B, H, W, C), as ``prepare`` makes them of pixels from 0 to 255. targets: int64 labels (B,),
        or, when the augmentation mixes images, float32 (B, classes) whose rows sum to 1. A pass that starts at k
        gives exactly the batches k, k + 1, ... of a full pass.
        See :meth:`ahead` for the thread that makes them.
        """

        def make(chosen: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
            return self.transformed(self.dataset.images[chosen], self.dataset.labels[chosen], epoch, index)

        return self.ahead(make, epoch, start, PREFETCH)

    def ahead(self, make: Callable[[np.ndarray, int], Batch], epoch: int, start: int, count: int) -> Iterator[Batch]:
        """Yields ``make(chosen, index)`` for the batches ``start``, ``start + 1``, ... of ``epoch``.

        ``make`` gets which images of the data set are in the batch, and the batch's number; it runs in a thread of its
        own, up to ``count`` batches ahead. Closing the generator ends the thread; an error in it is raised here.
        """
        order = self._order(epoch)
        pending: deque[Future] = deque()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="tinyvit-loader") as worker:
            try:
                for index in range(start, self.steps):
                    chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
                    pending.append(worker.submit(make, chosen, index))
                    if len(pending) > count:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for batch in pending:
                    batch.cancel()

    def transformed(self, images, labels, epoch: int, index: int) -> tuple:
        """Batch ``index`` of ``epoch``, augmented and prepared: (images, targets), as :meth:`batches` yields them.

        images: uint8 (B, H, W, C) and labels: int64 (B,), in NumPy or on a GPU; the results are where they are.
        """
        random = np.random.default_rng([self.seed, epoch, index])
        images, targets = augment(images, labels, self.dataset.classes, self.augmentation, random)
        return self.prepare(images), targets

    def _order(self, epoch: int) -> np.ndarray:
        """The order of the images in ``epoch``: (count,) indices."""
        if not self.shuffle:
            return np.arange(len(self.dataset))
        # The spawn key sets this stream apart: default_rng([seed, epoch]) alone equals that of batch 0 below.
        stream = np.random.SeedSequence([self.seed, epoch], spawn_key=(0,))
        return np.random.default_rng(stream).permutation(len(self.dataset))
