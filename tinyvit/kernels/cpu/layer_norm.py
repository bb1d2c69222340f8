"""Layer normalisation (Ba et al., 2016): rows to mean 0 and variance 1, then a gain and a bias per column."""

import numpy as np

from tinyvit.kernels.cpu.blocks import row_blocks
from tinyvit.kernels.cpu.sums import column_sums, row_means, row_means_of_products


def layer_norm_forward(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y = gamma (x - mean) / sqrt(var + eps) + beta over the last axis.

    Args:
        x: (..., D).
        gamma, beta: (D,).
        eps: added to the variance, which is the mean of squares (not of D - 1).

    Returns:
        y (..., D), and for backward: the normalised x (rows, D), 1 / sqrt(var + eps) (rows, 1).
    """
    width = x.shape[-1]
    rows = x.reshape(-1, width)
    out = np.empty(rows.shape, x.dtype)
    normalised = np.empty(rows.shape, x.dtype)
    inverse_std = np.empty((len(rows), 1), x.dtype)
    for block in row_blocks(len(rows), width):
        centred, std = normalised[block], inverse_std[block]
        np.subtract(rows[block], row_means(rows[block]), out=centred)
        np.divide(1, np.sqrt(row_means_of_products(centred, centred) + eps), out=std)
        centred *= std
        np.multiply(centred, gamma, out=out[block])
        out[block] += beta
    return out.reshape(x.shape), normalised, inverse_std


def layer_norm_backward(
    dout: np.ndarray, normalised: np.ndarray, inverse_std: np.ndarray, gamma: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dout (..., D) and what forward returned -> dx (..., D), dgamma (D,), dbeta (D,).

    With n the normalised row and g = gamma dout, both of length D,
    dx = (g - mean(g) - n mean(g n)) / std: the gradient less its parts along 1 and along n, which
    normalising removed.
    """
    width = dout.shape[-1]
    rows = dout.reshape(-1, width)
    dx = np.empty(rows.shape, dout.dtype)
    dgamma, dbeta = np.zeros_like(gamma), np.zeros_like(gamma)
    for block in row_blocks(len(rows), width):
        d, n, g = rows[block], normalised[block], dx[block]
        dgamma += np.einsum("rd,rd->d", d, n)
        dbeta += column_sums(d)
        np.multiply(d, gamma, out=g)
        along_ones = row_means(g)
        along_n = row_means_of_products(g, n)
        g -= along_ones
        g -= n * along_n
        g *= inverse_std[block]
    return dx.reshape(dout.shape), dgamma, dbeta
