"""Multi-head self-attention on the GPU, without its N x N weights in memory.

In float32 by attention.cu and attention_backward.cu.
"""

from tinyvit.device import array_module
from tinyvit.errors import InputError
from tinyvit.kernels.gpu.launch import launch, storage
from tinyvit.kernels.gpu.shapes import expect_shape
from tinyvit.kernels.gpu.vectors import vectors

WIDEST_HEAD = 128
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
        ValueError: not the shape of whole heads, or fewer tokens than ``asking``.
    """
    xp = array_module(qkv)
    qkv = xp.ascontiguousarray(qkv)
    batch, tokens, width = qkv.shape
    if not 1 <= asking <= tokens:
        raise ValueError(f"{asking} of {tokens} tokens ask: expected 1 to {tokens}")
    head_width = _head_width(width, heads)
    out = xp.empty((batch, asking, width // 3), qkv.dtype)
    logsumexp = xp.empty((batch, heads, asking), xp.float32)
    blocks = _blocks(batch * heads, asking, QUERY_TILE)
    arguments = (qkv, out, logsumexp, tokens, asking, heads)
    launch("attention", "attention_forward", blocks, (THREADS,), arguments, **_constants(head_width, qkv, out))
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
    delta, dqkv = xp.empty_like(logsumexp), xp.empty_like(qkv)
    constants = _constants(_head_width(width, heads), dout, qkv, out, dqkv)
    file, rows = "attention_backward", delta.size
    arguments = (dout, out, delta, rows, asking, heads)
    launch(file, "attention_backward_delta", (-(-rows // 32),), (32 * 8,), arguments, **constants)
    blocks = _blocks(batch * heads, tokens, GRADIENT_TILE)
    arguments = (dout, qkv, logsumexp, delta, dqkv, tokens, asking, heads)
    launch(file, "attention_backward_queries", blocks, (THREADS,), arguments, **constants)
    launch(file, "attention_backward_keys", blocks, (THREADS,), arguments, **constants)
    return dqkv


def attention_weights(qkv, heads: int):
    """The attention weights alone: qkv (B, N, 3 D) -> (B, H, N, N), each row summing to 1.

    Raises:
        InputError, TypeError, ValueError: as forward.
    """
    xp = array_module(qkv)
    qkv = xp.ascontiguousarray(qkv)
    batch, tokens, width = qkv.shape
    _, logsumexp = attention_forward(qkv, heads, tokens)
    weights = xp.empty((batch, heads, tokens, tokens), qkv.dtype)
    blocks = _blocks(batch * heads, tokens, PICTURE_TILE)
    arguments = (qkv, logsumexp, weights, tokens, heads)
    constants = _constants(_head_width(width, heads), qkv)
    launch("attention", "attention_weights", blocks, (THREADS,), arguments, **constants)
    return weights


def _head_width(width: int, heads: int) -> int:
    """How wide a head is where a row of qkv is ``width`` wide."""
    head_width, rest = divmod(width, 3 * heads)
    if rest:
        raise ValueError(
            f"qkv is {width} wide: expected query, key and value of {heads} heads, a multiple of {3 * heads}"
        )
    if head_width > WIDEST_HEAD:
        raise InputError(
            f"{heads} heads of attention are {head_width} wide: on the GPU a head is at most {WIDEST_HEAD} wide; "
            "take more heads"
        )
    return head_width


def _blocks(heads: int, tokens: int, tile: int) -> tuple[int]:
    """The grid: a block for each tile of each head of each image."""
    return (heads * -(-tokens // tile),)


def _constants(head_width: int, *arrays) -> dict[str, int]:
    """What the kernels are compiled with for ``arrays``, whose rows are made of heads."""
    by_head = (array.reshape(-1, head_width) for array in arrays)
    return {"HEAD_WIDTH": head_width, **vectors(*by_head), **storage(arrays[0])}
