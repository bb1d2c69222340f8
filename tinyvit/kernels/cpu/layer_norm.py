"""Layer normalisation (Ba et al., 2016): rows to mean 0 and variance 1, then a gain and a bias per column; alone, or
fused with the addition of a residual branch before it."""

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
    _, y, normalised, inverse_std = _forward(x, None, gamma, beta, eps)
    return y, normalised, inverse_std


def add_layer_norm_forward(
    x: np.ndarray, branch: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """z = x + branch, both (..., D), and y = layer_norm(z): a residual connection and the norm that follows it.

    Returns:
        z and y (..., D), and for backward: the normalised z (rows, D), 1 / sqrt(var + eps) (rows, 1).
    """
    return _forward(x, branch, gamma, beta, eps)


def layer_norm_backward(
    dout: np.ndarray, normalised: np.ndarray, inverse_std: np.ndarray, gamma: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dout (..., D) and what forward returned -> dx (..., D), dgamma (D,), dbeta (D,).

    With n the normalised row and g = gamma dout, both of length D,
    dx = (g - mean(g) - n mean(g n)) / std: the gradient less its parts along 1 and along n, which
    normalising removed.
    """
    return add_layer_norm_backward(None, dout, normalised, inverse_std, gamma)


def add_layer_norm_backward(
    dz: np.ndarray | None, dy: np.ndarray, normalised: np.ndarray, inverse_std: np.ndarray, gamma: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dz and dy (..., D) and what forward returned -> dx (..., D), dgamma (D,), dbeta (D,).

    dx is the gradient of x and of branch alike: dz plus what comes back through the norm. dz is None where nothing
    but the norm uses z.
    """
    width = dy.shape[-1]
    rows = dy.reshape(-1, width)
    passed = None if dz is None else dz.reshape(-1, width)
    dx = np.empty(rows.shape, dy.dtype)
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
        if passed is not None:
            g += passed[block]
    return dx.reshape(dy.shape), dgamma, dbeta


def _forward(x: np.ndarray, branch: np.ndarray | None, gamma: np.ndarray, beta: np.ndarray, eps: float):
    """z (x itself without a branch), y, and what backward needs."""
    width = x.shape[-1]
    rows = x.reshape(-1, width)
    out = np.empty(rows.shape, x.dtype)
    normalised = np.empty(rows.shape, x.dtype)
    inverse_std = np.empty((len(rows), 1), x.dtype)
    if branch is None:
        z = rows
    else:
        z, added = np.empty(rows.shape, x.dtype), branch.reshape(-1, width)
    for block in row_blocks(len(rows), width):
        if branch is not None:
            np.add(rows[block], added[block], out=z[block])
        centred, std = normalised[block], inverse_std[block]
        np.subtract(z[block], row_means(z[block]), out=centred)
        np.divide(1, np.sqrt(row_means_of_products(centred, centred) + eps), out=std)
        centred *= std
        np.multiply(centred, gamma, out=out[block])
        out[block] += beta
    return z.reshape(x.shape), out.reshape(x.shape), normalised, inverse_std
