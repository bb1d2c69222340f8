"""Position embeddings at another image size, resized as each source does it.

Resizing a grid is a matrix for the rows and the same for the columns; the methods differ in the matrix.
"""

import numpy as np

from tinyvit.models.config import ViTConfig


def resized(name: str, value: np.ndarray, old: ViTConfig, new: ViTConfig, method: str) -> np.ndarray:
    """The parameter called ``name`` of a model of ``old``, for one of ``new``: itself unless it is of positions and the
    grids differ."""
    if old.grid == new.grid or not name.startswith("position."):
        return value
    matrix = METHODS[method](old.grid, new.grid).astype(np.float32)
    if name == "position.rows":
        return np.einsum("ia,abd->ibd", matrix, value)
    if name == "position.columns":
        return np.einsum("jb,abd->ajd", matrix, value)
    return resize_positions(value, old.grid, new.grid, method) if name == "position.embedding" else value


def resize_positions(embedding: np.ndarray, grid: int, new_grid: int, method: str) -> np.ndarray:
    """(1, extra + grid^2, D) -> (1, extra + new_grid^2, D): the first ``extra`` rows, those of the class token and the
    like, stay as they are; the others are the grid's, row by row.

    Args:
        method: one of METHODS.
    """
    extra = embedding.shape[1] - grid**2
    matrix = METHODS[method](grid, new_grid)
    patches = embedding[0, extra:].reshape(grid, grid, -1)
    patches = np.einsum("ia,jb,abd->ijd", matrix, matrix, patches, optimize=True)
    patches = patches.reshape(1, new_grid**2, -1).astype(embedding.dtype)
    return np.concatenate([embedding[:, :extra], patches], axis=1)


def bilinear_corners(old: int, new: int) -> np.ndarray:
    """(new, old): linear interpolation where the first and the last points stay in their places, as the paper's code
    does it with scipy.ndimage.zoom of order 1."""
    return _linear(np.linspace(0, old - 1, new), old)


def bilinear(old: int, new: int) -> np.ndarray:
    """(new, old): linear interpolation of pixels with an extent; what lies outside is the nearest pixel."""
    return _linear((np.arange(new) + 0.5) * old / new - 0.5, old)


def bicubic(old: int, new: int) -> np.ndarray:
    """(new, old): cubic convolution (Keys, 1981) with a = -3/4 over 4 pixels; outside it is the nearest pixel."""
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    matrix = np.zeros((new, old))
    for shift in range(-1, 3):
        place = np.floor(centres) + shift
        column = np.clip(place, 0, old - 1).astype(int)
        np.add.at(matrix, (np.arange(new), column), _cubic(centres - place, -0.75))
    return matrix


def bicubic_antialias(old: int, new: int) -> np.ndarray:
    """(new, old): cubic convolution with a = -1/2, stretched over more pixels when there are to be fewer of them, as
    Pillow does it; the weights of pixels outside go to those inside."""
    stretch = max(old / new, 1.0)
    centres = (np.arange(new)[:, None] + 0.5) * old / new - 0.5
    weights = _cubic((np.arange(old) - centres) / stretch, -0.5)
    return weights / weights.sum(axis=1, keepdims=True)


METHODS = {
    "bilinear_corners": bilinear_corners,
    "bilinear": bilinear,
    "bicubic": bicubic,
    "bicubic_antialias": bicubic_antialias,
}


def _linear(places: np.ndarray, old: int) -> np.ndarray:
    return np.maximum(1 - np.abs(np.clip(places, 0, old - 1)[:, None] - np.arange(old)), 0)


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' piecewise cubic: 1 at 0, 0 at all other whole numbers and beyond 2."""
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0))
