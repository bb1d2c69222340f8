"""Multi-head attention in bfloat16 on tensor cores: see attention_tensor_cores.cu."""

import functools
import math

from tinyvit.device import array_module
from tinyvit.kernels.gpu.launch import launch
from tinyvit.kernels.gpu.vectors import vectors

MOST_HEAD_WIDTH = 128
MOST_WARPS = 4  # as in attention_tiles.cuh
ROWS = 16  # that a warp works on


def forward(qkv, heads: int, asking: int):
    """softmax(q k^T / sqrt(D/H)) v for each head and each of the first ``asking`` tokens (M of N).

    Args:
        qkv: bfloat16 (B, N, 3 D), for each token its query, key and value, each split over the heads.
        heads: H, which divides D; D/H is at most 128.
        asking: M, how many tokens get an output.

    Returns:
        the heads' outputs side by side, bfloat16 (B, M, D), and for backward the logarithm of the sum of exp(score) of
        each row, float32 (B, H, M).

    Raises:
        ValueError: heads wider than 128.
    """
    xp = array_module(qkv)
    batch, tokens, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    out = xp.empty((batch, asking, width), qkv.dtype)
    logsumexp = xp.empty((batch, heads, asking), xp.float32)
    warps, blocks = _division(asking)
    launch(
        "attention_tensor_cores",
        "attention_forward",
        (batch * heads * blocks,),
        (32 * warps,),
        (qkv, out, logsumexp, tokens, asking, heads, blocks, _scale(width, heads)),
        **_constants(qkv, out, heads=heads),
    )
    return out, logsumexp


def backward(dout, qkv, logsumexp, out, heads: int):
    """dout (B, M, D), forward's input and results -> dqkv (B, N, 3 D), all bfloat16 but logsumexp.

    Raises:
        ValueError: heads wider than 128.
    """
    xp = array_module(qkv)
    batch, tokens, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    asking = out.shape[1]
    dqkv = xp.empty_like(qkv)
    deltas = xp.empty_like(logsumexp)
    constants = _constants(qkv, dout, dqkv, out, heads=heads)
    warps, blocks = _division(tokens)
    grid, block = (batch * heads * blocks,), (32 * warps,)
    sizes = (tokens, asking, heads, blocks, _scale(width, heads))
    of_queries = (dout, qkv, logsumexp, out, deltas, dqkv, *sizes)
    launch("attention_tensor_cores", "attention_backward_queries", grid, block, of_queries, **constants)
    of_keys = (dout, qkv, logsumexp, deltas, dqkv, *sizes)
    launch("attention_tensor_cores", "attention_backward_keys", grid, block, of_keys, **constants)
    return dqkv


def _scale(width: int, heads: int) -> float:
    return 1 / math.sqrt(width // heads)


def _division(rows: int) -> tuple[int, int]:
    """How many warps a block has, and how many blocks share the rows of a head: the fewest, all about equally full."""
    tiles = -(-rows // ROWS)
    blocks = -(-tiles // MOST_WARPS)
    return -(-tiles // blocks), blocks


def _constants(*arrays, heads: int) -> dict[str, int]:
    """What to compile with for arrays whose last axis is split over the heads; the last one's is D."""
    head_width = arrays[-1].shape[-1] // heads
    if head_width > MOST_HEAD_WIDTH:
        raise ValueError(
            f"attention in bfloat16 computes with heads of width {MOST_HEAD_WIDTH} at most, "
            f"given were {heads} heads of width {head_width}: use more heads"
        )
    whole = vectors(*arrays) if head_width % 8 == 0 else {"VECTOR": 1}
    return {"BFLOAT16": 1, "HEAD_WIDTH": head_width} | whole | _cells(array_module(arrays[0]))


def _cells(xp) -> dict[str, int]:
    """The constant that says how the numbers of a product lie in a warp, as tensor_cores.cuh explains."""
    in_quads = _chip_has_quads(xp.cuda.Device().id) if xp.__name__ == "cupy" else _lie_in_quads(xp)
    return {} if in_quads else {"ANYWHERE": 1}


@functools.cache
def _chip_has_quads(_device: int) -> bool:
    """The answer for the current GPU, which has this number. Only the first call waits for the GPU."""
    import cupy

    return _lie_in_quads(cupy)


def _lie_in_quads(xp) -> bool:
    answer = xp.empty(1, xp.int32)
    launch("tensor_cores", "lie_in_quads", (1,), (32,), (answer,), BFLOAT16=1)
    return bool(answer[0])
