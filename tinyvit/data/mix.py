"""MixUp and CutMix: each image takes a part of another of its batch, and of that one's label."""

import numpy as np

from tinyvit.device import array_module


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Labels (B,) as rows of float32 (B, classes), 1 at the label."""
    return array_module(labels).eye(classes, dtype=np.float32)[labels]


def mixup(
    images: np.ndarray, targets: np.ndarray, alpha: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Blends each image with a partner, lambda x + (1 - lambda) x', and the targets alike.

    One lambda ~ Beta(alpha, alpha) for the batch (Zhang et al. 2018, arXiv:1710.09412).
    images: (B, H, W, C) -> float32, in pixel units. targets: float32 (B, classes).
    """
    share = np.float32(rng.beta(alpha, alpha))
    partner = array_module(images).asarray(rng.permutation(len(images)))
    images = images.astype(np.float32)
    return share * images + (1 - share) * images[partner], share * targets + (1 - share) * targets[partner]


def cutmix(
    images: np.ndarray, targets: np.ndarray, alpha: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Pastes a box of a partner into each image; the targets mix by area.

    The box leaves a share lambda ~ Beta(alpha, alpha) of the image, and more where the border cuts it off;
    one box for the batch, about a random centre (Yun et al. 2019, arXiv:1905.04899).
    images: (B, H, W, C). targets: float32 (B, classes).
    """
    _, height, width, _ = images.shape
    side = np.sqrt(1 - rng.beta(alpha, alpha))
    partner = array_module(images).asarray(rng.permutation(len(images)))
    top, bottom = _around(rng.integers(height), side * height, height)
    left, right = _around(rng.integers(width), side * width, width)
    mixed = images.copy()
    mixed[:, top:bottom, left:right] = images[:, top:bottom, left:right][partner]
    share = np.float32(1 - (bottom - top) * (right - left) / (height * width))
    return mixed, share * targets + (1 - share) * targets[partner]


def _around(centre: int, length: float, size: int) -> tuple[int, int]:
    """Start and end of an interval about ``centre``, within 0 to ``size``."""
    half = int(length) // 2
    return max(centre - half, 0), min(centre + half, size)
