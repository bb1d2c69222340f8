"""Reads images between their pixels: what every zoom, rotation and shear comes down to."""

import numpy as np

from tinyvit.device import array_module


def bilinear(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The images as seen at the given places, mixing the four pixels around each; black outside.

    images: uint8 (B, H, W, C). rows, columns: float (B, h, w), or what broadcasts to it, in pixels;
    whole numbers are the centres of pixels. Returns uint8 (B, h, w, C).
    """
    xp = array_module(images)
    count, height, width, channels = images.shape
    # A border of black pixels stands for everything outside.
    pixels = xp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(-1, channels)
    rows = xp.clip(xp.asarray(rows), -1, height).astype(np.float32) + 1
    columns = xp.clip(xp.asarray(columns), -1, width).astype(np.float32) + 1
    top = xp.minimum(rows.astype(np.intp), height)
    left = xp.minimum(columns.astype(np.intp), width)
    # Shares in float64, which costs a processor little; on most GPUs it is slow, and takes twice the memory.
    shares = np.float64 if xp is np else np.float32
    below = (rows - top.astype(shares))[..., None]
    beside = (columns - left.astype(shares))[..., None]
    start = xp.arange(count)[:, None, None] * ((height + 2) * (width + 2))
    corner = start + top * (width + 2) + left
    upper = pixels[corner] * (1 - beside) + pixels[corner + 1] * beside
    lower = pixels[corner + width + 2] * (1 - beside) + pixels[corner + width + 3] * beside
    return xp.rint(upper * (1 - below) + lower * below).astype(np.uint8)
