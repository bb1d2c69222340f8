"""Softmax over the last axis."""

import numpy as np


def softmax_forward(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """exp(x) / sum(exp(x)) over the last axis of x (..., K); into ``out`` where given (it may be x itself).

    The row's largest is subtracted first: that changes nothing in the quotient, and no exp can overflow.
    """
    out = np.subtract(x, x.max(axis=-1, keepdims=True), out=out)
    np.exp(out, out=out)
    out /= out.sum(axis=-1, keepdims=True)
    return out


def softmax_backward(dout: np.ndarray, y: np.ndarray) -> np.ndarray:
    """dx = y (dout - sum(dout y)) for y = softmax(x), all (..., K)."""
    return y * (dout - np.sum(dout * y, axis=-1, keepdims=True))
