"""RandAugment's operations on pixel values. Each takes images uint8 (B, H, W, C), strengths (B,) -1 to 1, these always
in NumPy.

Where a sign means nothing, only the size of the strength counts. The results are those of Pillow's ImageOps
and ImageEnhance, with the scales of AutoAugment (Cubuk et al. 2019, arXiv:1805.09501, table 6).
"""

from types import ModuleType

import numpy as np

from tinyvit.device import array_module

MOST_BLEND = 0.9  # colour, contrast, brightness and sharpness range over factors of 0.1 to 1.9
MOST_BITS_LOST = 4  # posterize keeps 4 of 8 bits at full strength
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601 weights of red, green and blue


def identity(images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Leaves the images as they are."""
    return images


def auto_contrast(images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Stretches each channel so that its darkest pixel is 0 and its lightest 255."""
    xp = array_module(images)
    low = images.min(axis=(1, 2), keepdims=True).astype(np.float32)
    high = images.max(axis=(1, 2), keepdims=True).astype(np.float32)
    span = high - low
    stretched = (images - low) * (255 / xp.maximum(span, 1))
    return xp.where(span > 0, stretched, images).astype(np.uint8)


def equalize(images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Gives each channel a histogram as even as can be."""
    xp = array_module(images)
    count, _, _, channels = images.shape
    # Each channel of each image has 256 bins of its own.
    bins = (xp.arange(count * channels) * 256).reshape(count, 1, 1, channels) + images
    histogram = _counts(bins.ravel(), count * channels * 256).reshape(-1, 256)
    lightest = 255 - xp.argmax(histogram[:, ::-1] > 0, axis=1)
    in_lightest = xp.take_along_axis(histogram, lightest[:, None], axis=1)
    step = (histogram.sum(axis=1, keepdims=True) - in_lightest) // 255
    darker = xp.cumsum(histogram, axis=1) - histogram
    table = xp.minimum((darker + step // 2) // xp.maximum(step, 1), 255)
    table = xp.where(step > 0, table, xp.arange(256)).astype(np.uint8)
    return table.ravel()[bins]


def solarize(images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Inverts the pixels above a threshold, which falls from 256 to 0 as the strength grows."""
    xp = array_module(images)
    threshold = _per_image(xp, 256 * (1 - np.abs(strength)))
    return xp.where(images >= threshold, 255 - images, images)


def posterize(images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Drops up to 4 of the 8 bits of every value."""
    lost = np.rint(MOST_BITS_LOST * np.abs(strength)).astype(np.uint8)
    return images & _per_image(array_module(images), np.left_shift(np.uint8(255), lost))


def colour(images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Blends with a grey copy: from nearly grey to richer colours. Grey images stay as they are."""
    if images.shape[3] != 3:
        return images
    return _blend(_luma(images)[..., None], images, strength)


def contrast(images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Blends with the mean brightness of each image."""
    xp = array_module(images)
    grey = _luma(images) if images.shape[3] == 3 else images.mean(axis=3)
    return _blend(_per_image(xp, xp.rint(grey.mean(axis=(1, 2)))), images, strength)


def brightness(images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Blends with black."""
    return _blend(0, images, strength)


def sharpness(images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Blends with a copy smoothed by a 3x3 kernel, whose border pixels are those of the image."""
    smooth = images.astype(np.float32)
    rows = smooth[:, :-2] + smooth[:, 1:-1] + smooth[:, 2:]
    windows = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    inner = (windows + 4 * smooth[:, 1:-1, 1:-1]) / 13  # 1 all around and 5 in the middle
    smooth[:, 1:-1, 1:-1] = array_module(images).rint(inner)
    return _blend(smooth, images, strength)


def _counts(values: np.ndarray, size: int) -> np.ndarray:
    """How often each number from 0 to size - 1 is among ``values`` (N,): int32 (size,)."""
    # Not bincount: CuPy's waits for the GPU, to look at the largest value. CuPy adds to int32 and to no other signed
    # type; NumPy is forty times as fast with an array of ones as with the number 1.
    xp = array_module(values)
    counts = xp.zeros(size, np.int32)
    xp.add.at(counts, values, xp.ones(len(values), np.int32))
    return counts


def _luma(images: np.ndarray) -> np.ndarray:
    """The brightness of coloured pixels: (B, H, W, 3) -> (B, H, W)."""
    xp = array_module(images)
    if xp is np:
        return images @ LUMA
    # CuPy's matrix product is slow with more than two axes, and rounds the factors where TF32 is on.
    return (images * xp.asarray(LUMA)).sum(axis=3)


def _blend(base: np.ndarray | int, images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """``base`` at a factor of 0, the images at 1, beyond them above 1; the factor is 1 + 0.9 strength."""
    xp = array_module(images)
    factor = _per_image(xp, 1 + MOST_BLEND * strength)
    return xp.clip(base + factor * (images - base), 0, 255).astype(np.uint8)


def _per_image(xp: ModuleType, values: np.ndarray) -> np.ndarray:
    """(B,) -> (B, 1, 1, 1), in the library ``xp``."""
    return xp.asarray(values)[:, None, None, None]
