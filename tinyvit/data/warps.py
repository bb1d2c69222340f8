"""RandAugment's operations that move pixels. Each takes images uint8 (B, H, W, C), strengths (B,) -1 to 1, these always
in NumPy.

What a full strength means is the scale of AutoAugment (Cubuk et al. 2019, arXiv:1805.09501, table 6).
"""

import numpy as np

from tinyvit.data.sampling import bilinear
from tinyvit.device import array_module

MOST_DEGREES = 30
MOST_SHEAR = 0.3
MOST_TRANSLATION = 0.45  # of the height or width


def rotate(images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Turns by up to 30 degrees about the centre."""
    angle = np.deg2rad(MOST_DEGREES) * strength
    return _affine(images, np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle))


def shear_x(images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Slides each row sideways by up to 0.3 of its distance from the centre."""
    return _affine(images, 1, 0, MOST_SHEAR * strength, 1)


def shear_y(images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Slides each column up or down by up to 0.3 of its distance from the centre."""
    return _affine(images, 1, MOST_SHEAR * strength, 0, 1)


def translate_x(images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Moves sideways by up to 0.45 of the width."""
    return _affine(images, 1, 0, 0, 1, right=MOST_TRANSLATION * strength * images.shape[2])


def translate_y(images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Moves up or down by up to 0.45 of the height."""
    return _affine(images, 1, 0, 0, 1, down=MOST_TRANSLATION * strength * images.shape[1])


def _affine(images, yy, yx, xy, xx, down=0, right=0) -> np.ndarray:
    """Each pixel (y, x), from the centre, shows what was at (yy y + yx x - down, xy y + xx x - right).

    Every coefficient is a number, or one for each image: (B,).
    """
    xp = array_module(images)
    count, height, width, _ = images.shape
    y = xp.arange(height)[:, None] - (height - 1) / 2
    x = xp.arange(width) - (width - 1) / 2
    each = np.stack([np.broadcast_to(value, count) for value in (yy, yx, xy, xx, down, right)])
    yy, yx, xy, xx, down, right = xp.asarray(each, np.float64)[..., None, None]
    rows = yy * y + yx * x - down + (height - 1) / 2
    columns = xy * y + xx * x - right + (width - 1) / 2
    return bilinear(images, rows, columns)
