"""The sum of squares, from which the gradient's norm is made."""

import numpy as np


def squared_norm(x: np.ndarray) -> float:
    """The sum of the squares of all elements of a contiguous array."""
    flat = x.reshape(-1)
    return float(np.dot(flat, flat))
