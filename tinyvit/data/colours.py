"""RandAugment's operations on pixel values. Each takes images uint8 (B, H, W, C), strengths (B,) -1 to 1.

Where a sign means nothing, only the size of the strength counts. The results are those of Pillow's ImageOps
and ImageEnhance, with the scales of AutoAugment (Cubuk et al. 2019, arXiv:1805.09501, table 6).
"""

import numpy as np

MOST_BLEND = 0.9  # colour, contrast, brightness and sharpness range over factors of 0.1 to 1.9
MOST_BITS_LOST = 4  # posterize keeps 4 of 8 bits at full strength
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601 weights of red, green and blue


def identity(images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Leaves the images as they are."""
    return images


def auto_contrast(images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Stretches each channel so that its darkest pixel is 0 and its lightest 255."""
    low = images.min(axis=(1, 2), keepdims=True).astype(np.float32)
    high = images.max(axis=(1, 2), keepdims=True).astype(np.float32)
    span = high - low
    stretched = (images - low) * (255 / np.maximum(span, 1))
    return np.where(span > 0, stretched, images).astype(np.uint8)


def equalize(images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Gives each channel a histogram as even as can be."""
    count, _, _, channels = images.shape
    # Each channel of each image has 256 bins of its own.
    bins = (np.arange(count * channels) * 256).reshape(count, 1, 1, channels) + images
    histogram = np.bincount(bins.ravel(), minlength=count * channels * 256).reshape(-1, 256)
    lightest = 255 - np.argmax(histogram[:, ::-1] > 0, axis=1)
    in_lightest = np.take_along_axis(histogram, lightest[:, None], axis=1)
    step = (histogram.sum(axis=1, keepdims=True) - in_lightest) // 255
    darker = np.cumsum(histogram, axis=1) - histogram
    table = np.minimum((darker + step // 2) // np.maximum(step, 1), 255)
    table = np.where(step > 0, table, np.arange(256)).astype(np.uint8)
    return table.ravel()[bins]


def solarize(images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Inverts the pixels above a threshold, which falls from 256 to 0 as the strength grows."""
    threshold = _per_image(256 * (1 - np.abs(strength)))
    return np.where(images >= threshold, 255 - images, images)


def posterize(images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Drops up to 4 of the 8 bits of every value."""
    lost = np.rint(MOST_BITS_LOST * np.abs(strength)).astype(np.uint8)
    return images & _per_image(np.left_shift(np.uint8(255), lost))


def colour(images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Blends with a grey copy: from nearly grey to richer colours. Grey images stay as they are."""
    if images.shape[3] != 3:
        return images
    return _blend((images @ LUMA)[..., None], images, strength)


def contrast(images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Blends with the mean brightness of each image."""
    grey = images @ LUMA if images.shape[3] == 3 else images.mean(axis=3)
    return _blend(_per_image(np.rint(grey.mean(axis=(1, 2)))), images, strength)


def brightness(images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Blends with black."""
    return _blend(0, images, strength)


def sharpness(images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Blends with a copy smoothed by a 3x3 kernel, whose border pixels are those of the image."""
    smooth = images.astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(smooth, (3, 3), axis=(1, 2))
    inner = (windows.sum(axis=(-2, -1)) + 4 * windows[..., 1, 1]) / 13  # 1 all around and 5 in the middle
    smooth[:, 1:-1, 1:-1] = np.rint(inner)
    return _blend(smooth, images, strength)


def _blend(base: np.ndarray | int, images: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """``base`` at a factor of 0, the images at 1, beyond them above 1; the factor is 1 + 0.9 strength."""
    factor = _per_image(1 + MOST_BLEND * strength)
    return np.clip(base + factor * (images - base), 0, 255).astype(np.uint8)


def _per_image(values: np.ndarray) -> np.ndarray:
    """(B,) -> (B, 1, 1, 1)."""
    return values[:, None, None, None]
