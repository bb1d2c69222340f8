"""Which augmentations are on, and the order in which they are applied to a batch."""

from dataclasses import dataclass

import numpy as np

from tinyvit.data.erasing import erase
from tinyvit.data.geometry import flip, random_resized_crop, shift
from tinyvit.data.mix import cutmix, mixup, one_hot
from tinyvit.data.rand_augment import MOST_MAGNITUDE, rand_augment
from tinyvit.errors import InputError


@dataclass(frozen=True)
class Augmentation:
    """The augmentations of a training batch, in the order of their use; all are off by default.

    random_resized_crop: the least and the most share of the image's area that is cut out and stretched.
    flip: mirror left to right half the time.
    shift: move by at most so many pixels along each axis.
    rand_augment: how many operations on each image, and their magnitude from 0 to 10.
    erasing: the probability that a rectangle is filled with noise.
    mixup, cutmix: alpha of the Beta distribution; with both, each batch gets one of them at random.

    Raises InputError for a value out of range.
    """

    random_resized_crop: tuple[float, float] | None = None
    flip: bool = False
    shift: int = 0
    rand_augment: tuple[int, float] | None = None
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        if self.random_resized_crop is not None:
            least, most = self.random_resized_crop
            if not 0 < least <= most <= 1:
                raise InputError(f"random resized crop is {least} to {most}: give shares with 0 < least <= most <= 1")
        if self.shift < 0:
            raise InputError(f"shift is {self.shift} pixels: give 0 (off) or more")
        if self.rand_augment is not None:
            operations, magnitude = self.rand_augment
            if operations < 1 or not 0 <= magnitude <= MOST_MAGNITUDE:
                raise InputError(
                    f"RandAugment has {operations} operations at magnitude {magnitude}: give at least 1 "
                    f"operation and a magnitude from 0 to {MOST_MAGNITUDE}"
                )
        if not 0 <= self.erasing <= 1:
            raise InputError(f"erasing is {self.erasing}: give a probability from 0 (off) to 1")
        for name, alpha in (("mixup", self.mixup), ("cutmix", self.cutmix)):
            if not 0 <= alpha < float("inf"):
                raise InputError(f"{name} is {alpha}: give an alpha of 0 (off) or more")


NO_AUGMENTATION = Augmentation()


def augment(
    images: np.ndarray, labels: np.ndarray, classes: int, options: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The batch with ``options`` applied: (images, targets). What is given stays as it was.

    images: uint8 (B, H, W, C) -> the same, or float32 in pixel units (0 to 255) after mixup.
    labels: int64 (B,) -> the same, or, after mixup or cutmix, float32 (B, classes) whose rows sum to 1.
    """
    if options.random_resized_crop:
        images = random_resized_crop(images, options.random_resized_crop, rng)
    if options.flip:
        images = flip(images, rng)
    if options.shift:
        images = shift(images, options.shift, rng)
    if options.rand_augment:
        images = rand_augment(images, *options.rand_augment, rng)
    if options.erasing:
        images = erase(images, options.erasing, rng)
    if not options.mixup and not options.cutmix:
        return images, labels
    targets = one_hot(labels, classes)
    if options.mixup and (not options.cutmix or rng.random() < 0.5):
        return mixup(images, targets, options.mixup, rng)
    return cutmix(images, targets, options.cutmix, rng)
