"""Linear: y = x W + b."""

import numpy as np

from tinyvit.kernels.cpu.sums import column_sums


def linear_forward(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """x (..., in), weight (in, out), bias (out,) -> (..., out)."""
    # One large matrix product: numpy would run a product per leading index.
    out = x.reshape(-1, x.shape[-1]) @ weight
    out += bias
    return out.reshape(*x.shape[:-1], weight.shape[1])


def linear_backward(
    dout: np.ndarray, x: np.ndarray, weight: np.ndarray, *, needs_dx: bool = True
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """dout (..., out), x (..., in), weight (in, out) -> dx (..., in), dweight (in, out), dbias (out,).

    dx = dout W^T, dW = x^T dout, db = the sum of dout over rows. ``needs_dx=False`` saves the first where x is data.
    """
    dout, x_rows = dout.reshape(-1, dout.shape[-1]), x.reshape(-1, x.shape[-1])
    dx = (dout @ weight.T).reshape(x.shape) if needs_dx else None
    return dx, x_rows.T @ dout, column_sums(dout)
