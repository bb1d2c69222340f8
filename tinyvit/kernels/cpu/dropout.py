"""Dropout (Srivastava et al., 2014)."""

import numpy as np


def dropout_forward(x: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """Each element zero with probability ``rate``, the others divided by 1 - rate.

    The mask is a function of the seed alone, so backward draws it again and nothing is saved.
    """
    return x * _scaled_mask(x, rate, seed)


def dropout_backward(dout: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """The gradient passes where the element passed: the same mask, drawn again from the same seed."""
    return dout * _scaled_mask(dout, rate, seed)


def _scaled_mask(like: np.ndarray, rate: float, seed: int) -> np.ndarray:
    # Philox is counter-based: number i depends on (seed, i) alone, as it will on a GPU.
    random = np.random.Generator(np.random.Philox(key=seed)).random(like.shape, dtype=np.float32)
    return (random >= rate) * like.dtype.type(1 / (1 - rate))
