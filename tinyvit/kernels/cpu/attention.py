"""Multi-head self-attention (paper, appendix A, equations 5-8), without its two projections."""

import numpy as np

from tinyvit.kernels.cpu.blocks import row_blocks
from tinyvit.kernels.cpu.softmax import softmax_forward


def attention_forward(qkv: np.ndarray, heads: int, asking: int) -> tuple[np.ndarray, np.ndarray]:
    """softmax(q k^T / sqrt(D/H)) v for each head and each of the first ``asking`` tokens (M of N).

    Args:
        qkv: (B, N, 3 D), for each token its query, key and value, each split over the heads.
        heads: H, which divides D.
        asking: M, how many tokens get an output: N, or 1 where only the class token's is wanted.

    Returns:
        the heads' outputs side by side (B, M, D), and the attention weights (B, H, M, N) for backward.
    """
    query, key, value = _heads_of(qkv, heads)
    query = query[:, :, :asking]
    batch, _, tokens, head_width = key.shape
    out = np.empty((batch, asking, heads * head_width), qkv.dtype)
    out_heads = _heads_first(out, heads)
    weights = np.empty((batch, heads, asking, tokens), qkv.dtype)
    for block in row_blocks(batch, heads * asking * tokens):
        _weights(query[block], key[block], out=weights[block])
        np.matmul(weights[block], value[block], out=out_heads[block])
    return out, weights


def attention_backward(
    dout: np.ndarray, qkv: np.ndarray, weights: np.ndarray, out: np.ndarray, heads: int
) -> np.ndarray:
    """dout (B, M, D), forward's input and results -> dqkv (B, N, 3 D).

    With A the weights and S the scores: dv = A^T dout; dA = dout v^T; dS = A (dA - sum(dA A));
    dq = dS k / sqrt(d); dk = dS^T q / sqrt(d). Row by row sum(dA A) = sum(dout out), which needs no M x N product.
    The queries of tokens that did not ask have no gradient.
    """
    query, key, value = _heads_of(qkv, heads)
    batch, _, asking, tokens = weights.shape
    dqkv = np.empty(qkv.shape, qkv.dtype)
    dquery, dkey, dvalue = _heads_of(dqkv, heads)
    dquery[:, :, asking:] = 0
    query, dquery = query[:, :, :asking], dquery[:, :, :asking]
    dout_heads, out_heads = _heads_first(dout, heads), _heads_first(out, heads)
    for block in row_blocks(batch, heads * asking * tokens):
        a, d = weights[block], dout_heads[block]
        np.matmul(a.swapaxes(-1, -2), d, out=dvalue[block])
        dscores = d @ value[block].swapaxes(-1, -2)
        dscores -= np.einsum("bhnd,bhnd->bhn", d, out_heads[block])[..., None]
        dscores *= a
        dscores *= query.shape[-1] ** -0.5
        np.matmul(dscores, key[block], out=dquery[block])
        np.matmul(dscores.swapaxes(-1, -2), query[block], out=dkey[block])
    return dqkv


def attention_weights(qkv: np.ndarray, heads: int) -> np.ndarray:
    """The attention weights alone: qkv (B, N, 3 D) -> (B, H, N, N), each row summing to 1."""
    query, key, _ = _heads_of(qkv, heads)
    batch, _, tokens, _ = query.shape
    return _weights(query, key, out=np.empty((batch, heads, tokens, tokens), qkv.dtype))


def _weights(query: np.ndarray, key: np.ndarray, out: np.ndarray) -> np.ndarray:
    """softmax(q k^T / sqrt(d)) of query and key (B, H, N, d), into out (B, H, N, N)."""
    np.matmul(query, key.swapaxes(-1, -2), out=out)
    out *= query.shape[-1] ** -0.5
    return softmax_forward(out, out=out)


def _heads_of(qkv: np.ndarray, heads: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Views of qkv (B, N, 3 D) as query, key and value, each (B, H, N, D/H). Nothing is copied: BLAS takes strides."""
    batch, tokens, width = qkv.shape
    query, key, value = qkv.reshape(batch, tokens, 3, heads, width // (3 * heads)).transpose(2, 0, 3, 1, 4)
    return query, key, value


def _heads_first(x: np.ndarray, heads: int) -> np.ndarray:
    """A view of x (B, N, D) as (B, H, N, D/H)."""
    batch, tokens, width = x.shape
    return x.reshape(batch, tokens, heads, width // heads).transpose(0, 2, 1, 3)
