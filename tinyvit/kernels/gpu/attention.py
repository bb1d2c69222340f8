"""Multi-head self-attention on the GPU, without its N x N weights in memory.

In float32 by attention.cu and attention_backward.cu, in bfloat16 on tensor cores.
"""

from tinyvit.device import array_module
from tinyvit.kernels.gpu import tensor_core_attention
from tinyvit.kernels.gpu.heads import constants_for
from tinyvit.kernels.gpu.launch import launch
from tinyvit.kernels.gpu.shapes import expect_shape

THREADS = 64  # of a block
QUERY_TILE, GRADIENT_TILE, PICTURE_TILE = 64, 32, 32  # tokens that a block works on: as in the .cu files


def attention_forward(qkv, heads: int, asking: int):
    """softmax(q k^T / sqrt(D/H)) v for each head and each of the first ``asking`` tokens (M of N).

    Args:
        qkv: (B, N, 3 D), for each token its query, key and value, each split over the heads.
        heads: H, which divides D.
        asking: M, how many tokens get an output: N, or 1 where only the class token's is wanted.

    Returns:
        the heads' outputs side by side (B, M, D), and for backward log(sum(e^score)) of each row of scores, float32
        (B, H, M).

    Raises:
        InputError: heads wider than the kernels are written for.
        TypeError: neither float32 nor bfloat16.
        ValueError: heads that do not divide D, or not so many tokens as ask.
    """
    xp = array_module(qkv)
    qkv = xp.ascontiguousarray(qkv)
    batch, tokens, width = qkv.shape
    if not 1 <= asking <= tokens:
        raise ValueError(f"{asking} of {tokens} tokens ask: expected 1 to {tokens}")
    constants = constants_for(heads, qkv)
    if "BFLOAT16" in constants:
        return tensor_core_attention.forward(qkv, heads, asking)
    out = xp.empty((batch, asking, width // 3), qkv.dtype)
    logsumexp = xp.empty((batch, heads, asking), xp.float32)
    blocks = _blocks(batch * heads, asking, QUERY_TILE)
    arguments = (qkv, out, logsumexp, tokens, asking, heads)
    launch("attention", "attention_forward", blocks, (THREADS,), arguments, **constants)
    return out, logsumexp


def attention_backward(dout, qkv, logsumexp, out, heads: int):
    """dout (B, M, D), forward's input and results -> dqkv (B, N, 3 D).

    The queries of tokens that did not ask have no gradient.

    Raises:
        InputError, TypeError, ValueError: as forward.
    """
    xp = array_module(qkv)
    dout, qkv, out = (xp.ascontiguousarray(array) for array in (dout, qkv, out))
    (batch, tokens, width), asking = qkv.shape, logsumexp.shape[-1]
    expect_shape((batch, heads, asking), logsumexp=logsumexp)
    expect_shape((batch, asking, width // 3), dout=dout, out=out)
    constants = constants_for(heads, qkv, dout, out)
    if "BFLOAT16" in constants:
        return tensor_core_attention.backward(dout, qkv, logsumexp, out, heads)
    delta, dqkv = xp.empty_like(logsumexp), xp.empty_like(qkv)
    arguments = (dout, out, delta, delta.size, asking, heads)
    blocks, threads = (-(-delta.size // 32),), (32 * 8,)
    launch("attention_backward", "attention_backward_delta", blocks, threads, arguments, **constants)
    blocks, threads = _blocks(batch * heads, tokens, GRADIENT_TILE), (THREADS,)
    arguments = (dout, qkv, logsumexp, delta, dqkv, tokens, asking, heads)
    launch("attention_backward", "attention_backward_queries", blocks, threads, arguments, **constants)
    launch("attention_backward", "attention_backward_keys", blocks, threads, arguments, **constants)
    return dqkv


def attention_weights(qkv, heads: int):
    """The attention weights alone: qkv (B, N, 3 D) -> (B, H, N, N), each row summing to 1.

    Raises:
        InputError, TypeError, ValueError: as forward.
    """
    xp = array_module(qkv)
    qkv = xp.ascontiguousarray(qkv)
    batch, tokens, _ = qkv.shape
    _, logsumexp = attention_forward(qkv, heads, tokens)
    weights = xp.empty((batch, heads, tokens, tokens), qkv.dtype)
    blocks = _blocks(batch * heads, tokens, PICTURE_TILE)
    arguments = (qkv, logsumexp, weights, tokens, heads)
    launch("attention_weights", "attention_weights", blocks, (THREADS,), arguments, **constants_for(heads, qkv))
    return weights


def _blocks(heads: int, tokens: int, tile: int) -> tuple[int]:
    """The grid: a block for each tile of each head of each image."""
    return (heads * -(-tokens // tile),)
