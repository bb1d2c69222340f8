"""Augmentations that move pixels: flip, shift and random resized crop. Each image draws its own."""

import numpy as np

from tinyvit.data.sampling import bilinear
from tinyvit.device import array_module
from tinyvit.errors import InputError


def flip(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirrors each image left to right with probability 1/2. images: (B, H, W, C)."""
    xp = array_module(images)
    chosen = xp.asarray(rng.random(len(images)) < 0.5)
    return xp.where(chosen[:, None, None, None], images[:, :, ::-1], images)


def shift(images: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Moves each image by -``most`` to ``most`` whole pixels along each axis; what comes in is black.

    The same as padding by ``most`` and cropping at random (He et al. 2016, arXiv:1512.03385, section 4.2).
    images: (B, H, W, C). Raises InputError when ``most`` could push an image wholly out of sight.
    """
    xp = array_module(images)
    count, height, width, _ = images.shape
    if most >= min(height, width):
        raise InputError(f"a shift of {most} pixels empties images of {height}x{width}: give a smaller one")
    down, right = rng.integers(-most, most, size=(2, count), endpoint=True)
    padded = xp.pad(images, ((0, 0), (most, most), (most, most), (0, 0)))
    # (B, 2 most + 1, 2 most + 1, C, H, W): the window at [most - down, most - right] is the moved image.
    windows = xp.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    moved = windows[xp.arange(count), xp.asarray(most - down), xp.asarray(most - right)]
    return xp.ascontiguousarray(xp.moveaxis(moved, 1, -1))


def random_resized_crop(images: np.ndarray, scale: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Cuts a random box out of each image and stretches it to the whole size.

    The box covers a share of the image's area drawn from ``scale`` and is 3/4 to 4/3 as wide as high, as for
    Inception (Szegedy et al. 2015, arXiv:1409.4842, section 6); what does not fit in the image is cut off.
    images: uint8 (B, H, W, C).
    """
    count, height, width, _ = images.shape
    area = rng.uniform(*scale, size=count)
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), size=count))
    box_height = height * np.minimum(np.sqrt(area / ratio), 1)
    box_width = width * np.minimum(np.sqrt(area * ratio), 1)
    top = (height - box_height) * rng.random(count)
    left = (width - box_width) * rng.random(count)
    rows = _spread(top, box_height, height)
    columns = _spread(left, box_width, width)
    return bilinear(images, rows[:, :, None], columns[:, None, :])


def _spread(start: np.ndarray, length: np.ndarray, size: int) -> np.ndarray:
    """Where ``size`` pixels fall when laid evenly over [start, start + length], edges included: (B, size)."""
    centres = (np.arange(size) + 0.5) / size
    return np.clip(start[:, None] + length[:, None] * centres - 0.5, 0, size - 1)
