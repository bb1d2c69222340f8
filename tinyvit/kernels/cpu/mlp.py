"""The MLP of an encoder block: linear, GELU, linear, one block of rows after the other."""

import numpy as np

from tinyvit.kernels.cpu.blocks import row_blocks
from tinyvit.kernels.cpu.gelu import gelu_forward
from tinyvit.kernels.cpu.sums import column_sums


def mlp_forward(
    x: np.ndarray,
    weight1: np.ndarray,
    bias1: np.ndarray,
    weight2: np.ndarray,
    bias2: np.ndarray,
    form: str,
    for_backward: bool,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """y = gelu(x W1 + b1) W2 + b2.

    Args:
        x: (..., D).
        weight1, bias1, weight2, bias2: (D, M), (M,), (M, D), (D,).
        form: "tanh" or "exact", the GELU's.
        for_backward: False leaves out what only backward needs.

    Returns:
        y (..., D), and for backward: gelu's result and its derivative, both (rows, M) (else None, None).
    """
    rows = x.reshape(-1, x.shape[-1])
    width = weight1.shape[1]
    out = np.empty((len(rows), weight2.shape[1]), x.dtype)
    hidden = np.empty((len(rows), width), x.dtype) if for_backward else None
    derivative = np.empty((len(rows), width), x.dtype) if for_backward else None
    # Block by block, so that gelu finds what the first product wrote in the cache, and the second product likewise.
    for block in row_blocks(len(rows), width):
        before = rows[block] @ weight1
        before += bias1
        after, _ = gelu_forward(
            before,
            form,
            for_backward,
            out=hidden[block] if for_backward else before,
            out_derivative=derivative[block] if for_backward else None,
        )
        np.matmul(after, weight2, out=out[block])
        out[block] += bias2
    return out.reshape(*x.shape[:-1], out.shape[1]), hidden, derivative


def mlp_backward(
    dout: np.ndarray,
    x: np.ndarray,
    hidden: np.ndarray,
    derivative: np.ndarray,
    weight1: np.ndarray,
    weight2: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """dout (..., D) and what forward saved -> dx, dweight1, dbias1, dweight2, dbias2, of their inputs' shapes.

    Two linear layers' backward passes with gelu's slope between them.
    """
    rows, dout_rows = x.reshape(-1, x.shape[-1]), dout.reshape(-1, dout.shape[-1])
    dhidden = np.empty_like(hidden)
    dx = np.empty(rows.shape, x.dtype)
    for block in row_blocks(*hidden.shape):
        np.matmul(dout_rows[block], weight2.T, out=dhidden[block])
        dhidden[block] *= derivative[block]
        np.matmul(dhidden[block], weight1.T, out=dx[block])
    return (
        dx.reshape(x.shape),
        rows.T @ dhidden,
        column_sums(dhidden),
        hidden.T @ dout_rows,
        column_sums(dout_rows),
    )
