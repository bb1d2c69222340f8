"""Augmentations that move pixels: flip, shift and random resized crop. Each image draws its own."""

import numpy as np

from tinyvit.errors import InputError


def flip(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirrors each image left to right with probability 1/2. images: (B, H, W, C)."""
    chosen = rng.random(len(images)) < 0.5
    return np.where(chosen[:, None, None, None], images[:, :, ::-1], images)


def shift(images: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Moves each image by -``most`` to ``most`` whole pixels along each axis; what comes in is black.

    The same as padding by ``most`` and cropping at random (He et al. 2016, arXiv:1512.03385, section 4.2).
    images: (B, H, W, C). Raises InputError when ``most`` could push an image wholly out of sight.
    """
    count, height, width, _ = images.shape
    if most >= min(height, width):
        raise InputError(f"a shift of {most} pixels empties images of {height}x{width}: give a smaller one")
    down, right = rng.integers(-most, most, size=(2, count), endpoint=True)
    padded = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)))
    # (B, 2 most + 1, 2 most + 1, C, H, W): the window at [most - dy, most - dx] is the image moved by (dy, dx).
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    moved = windows[np.arange(count), most - down, most - right]
    return np.ascontiguousarray(np.moveaxis(moved, 1, -1))
