"""Multi-head self-attention on the GPU, without its N x N weights in memory: see attention.cu."""

from tinyvit.device import array_module
from tinyvit.errors import InputError
from tinyvit.kernels.gpu.launch import launch, storage
from tinyvit.kernels.gpu.vectors import vectors

WIDEST_HEAD = 128
THREADS = 64  # of a block
QUERY_TILE, GRADIENT_TILE = 64, 32  # tokens that a block works on: forward, and otherwise


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
    """
    xp = array_module(qkv)
    qkv = xp.ascontiguousarray(qkv)
    batch, tokens, width = qkv.shape
    out = xp.empty((batch, asking, width // 3), qkv.dtype)
    logsumexp = xp.empty((batch, heads, asking), xp.float32)
    blocks = _blocks(batch * heads, asking, QUERY_TILE)
    arguments = (qkv, out, logsumexp, tokens, asking, heads)
    launch(
        "attention", "attention_forward", blocks, (THREADS,), arguments, **_constants(width // (3 * heads), qkv, out)
    )
    return out, logsumexp


def attention_backward(dout, qkv, logsumexp, out, heads: int):
    """dout (B, M, D), forward's input and results -> dqkv (B, N, 3 D).

    The queries of tokens that did not ask have no gradient.

    Raises:
        InputError, TypeError: as forward.
    """
    xp = array_module(qkv)
    dout, qkv, out = (xp.ascontiguousarray(array) for array in (dout, qkv, out))
    batch, tokens, width = qkv.shape
    asking, rows = dout.shape[1], logsumexp.size
    delta, dqkv = xp.empty_like(logsumexp), xp.empty_like(qkv)
    constants = _constants(width // (3 * heads), dout, qkv, out, dqkv)
    blocks, threads = (-(-rows // 32),), (8 * 32,)
    launch(
        "attention", "attention_backward_delta", blocks, threads, (dout, out, delta, rows, asking, heads), **constants
    )
    blocks = _blocks(batch * heads, tokens, GRADIENT_TILE)
    arguments = (dout, qkv, logsumexp, delta, dqkv, tokens, asking, heads)
    launch("attention", "attention_backward_queries", blocks, (THREADS,), arguments, **constants)
    launch("attention", "attention_backward_keys", blocks, (THREADS,), arguments, **constants)
    return dqkv


def attention_weights(qkv, heads: int):
    """The attention weights alone: qkv (B, N, 3 D) -> (B, H, N, N), each row summing to 1.

    Raises:
        InputError, TypeError: as forward.
    """
    xp = array_module(qkv)
    qkv = xp.ascontiguousarray(qkv)
    batch, tokens, width = qkv.shape
    _, logsumexp = attention_forward(qkv, heads, tokens)
    weights = xp.empty((batch, heads, tokens, tokens), qkv.dtype)
    blocks = _blocks(batch * heads, tokens, GRADIENT_TILE)
    arguments = (qkv, logsumexp, weights, tokens, heads)
    launch("attention", "attention_weights", blocks, (THREADS,), arguments, **_constants(width // (3 * heads), qkv))
    return weights


def _blocks(heads: int, tokens: int, tile: int) -> tuple[int]:
    """The grid: a block for each tile of each head of each image."""
    return (heads * -(-tokens // tile),)


def _constants(head_width: int, *arrays) -> dict[str, int]:
    """What attention.cu is compiled with for ``arrays``, whose rows are made of heads that wide."""
    if head_width > WIDEST_HEAD:
        raise InputError(
            f"a head of attention is {head_width} wide: on the GPU heads are up to {WIDEST_HEAD} wide; take more heads"
        )
    by_head = (array.reshape(-1, head_width) for array in arrays)
    return {"HEAD_WIDTH": head_width, **vectors(*by_head), **storage(arrays[0])}
