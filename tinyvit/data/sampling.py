"""Reads images between their pixels: what every zoom, rotation and shear comes down to."""

import numpy as np


def bilinear(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The images as seen at the given places, mixing the four pixels around each; black outside.

    images: uint8 (B, H, W, C). rows, columns: float (B, h, w), or what broadcasts to it, in pixels;
    whole numbers are the centres of pixels. Returns uint8 (B, h, w, C).
    """
    count, height, width, channels = images.shape
    # A border of black pixels stands for everything outside.
    pixels = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(-1, channels)
    rows = np.clip(rows, -1, height).astype(np.float32) + 1
    columns = np.clip(columns, -1, width).astype(np.float32) + 1
    top = np.minimum(rows.astype(np.intp), height)
    left = np.minimum(columns.astype(np.intp), width)
    below = (rows - top)[..., None]
    beside = (columns - left)[..., None]
    start = np.arange(count)[:, None, None] * ((height + 2) * (width + 2))
    corner = start + top * (width + 2) + left
    upper = pixels[corner] * (1 - beside) + pixels[corner + 1] * beside
    lower = pixels[corner + width + 2] * (1 - beside) + pixels[corner + width + 3] * beside
    return np.rint(upper * (1 - below) + lower * below).astype(np.uint8)
