"""Random erasing: a rectangle of noise hides a part of the image (Zhong et al. 2020, arXiv:1708.04896)."""

import numpy as np

from tinyvit.device import array_module

AREA = (0.02, 0.4)  # the paper's s_l and s_h: the rectangle's share of the image
RATIO = (0.3, 1 / 0.3)  # the paper's r_1 and r_2: height over width


def erase(images: np.ndarray, probability: float, rng: np.random.Generator) -> np.ndarray:
    """Fills a random rectangle of each image with random pixels, with the given probability.

    images: uint8 (B, H, W, C). The ratio is drawn on a log scale, so that tall and wide are alike;
    a rectangle that is too long is cut to fit.
    """
    count, height, width, _ = images.shape
    chosen = rng.random(count) < probability
    area = rng.uniform(*AREA, size=count)
    ratio = np.exp(rng.uniform(*np.log(RATIO), size=count))
    rows = _inside(np.sqrt(area * ratio), height, rng)
    columns = _inside(np.sqrt(area / ratio), width, rng)
    xp = array_module(images)
    erased = xp.asarray(chosen[:, None] & rows)[:, :, None] & xp.asarray(columns)[:, None, :]
    noise = rng.integers(0, 256, images.shape, dtype=np.uint8)
    return xp.where(erased[..., None], xp.asarray(noise), images)


def _inside(share: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Which of ``size`` positions lie in an interval of that share at a random place: (B,) -> (B, size)."""
    length = np.clip(np.rint(share * size), 1, size).astype(np.int64)
    start = rng.integers(0, size - length, endpoint=True)
    position = np.arange(size)
    return (position >= start[:, None]) & (position < (start + length)[:, None])
