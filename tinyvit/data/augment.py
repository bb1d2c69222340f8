"""Which augmentations are on, and the order in which they are applied to a batch."""

from dataclasses import dataclass

import numpy as np

from tinyvit.data.geometry import flip, shift
from tinyvit.errors import InputError


@dataclass(frozen=True)
class Augmentation:
    """The augmentations of a training batch; all are off by default.

    flip: mirror left to right half the time.
    shift: move by at most so many pixels along each axis.

    Raises InputError for a value out of range.
    """

    flip: bool = False
    shift: int = 0

    def __post_init__(self) -> None:
        if self.shift < 0:
            raise InputError(f"shift is {self.shift} pixels: give 0 (off) or more")


NO_AUGMENTATION = Augmentation()


def augment(
    images: np.ndarray, labels: np.ndarray, classes: int, options: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A new batch with ``options`` applied; what is given stays as it was.

    images: uint8 (B, H, W, C). labels: int64 (B,).
    """
    if options.flip:
        images = flip(images, rng)
    if options.shift:
        images = shift(images, options.shift, rng)
    return images, labels
