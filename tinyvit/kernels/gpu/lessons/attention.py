"""Attention forward in three steps, each faster than the one before: see attention_steps.cu."""

from tinyvit.device import array_module
from tinyvit.kernels.gpu import attention
from tinyvit.kernels.gpu.heads import constants_for
from tinyvit.kernels.gpu.launch import launch

THREADS = 64  # of a block, each with a query


def a_thread_a_query(qkv, heads: int):
    """out (B, N, D) for qkv (B, N, 3 D), C-contiguous, of heads up to 128 wide: step 1."""
    return _step("attention_thread_a_query", qkv, heads)


def shared_tiles(qkv, heads: int):
    """The same by step 2."""
    return _step("attention_shared_tiles", qkv, heads)


def patches_in_registers(qkv, heads: int):
    """The same by step 3, as training does it (in bfloat16 that is step 4, tensor cores)."""
    return attention.attention_forward(qkv, heads, qkv.shape[1])[0]


STEPS = (a_thread_a_query, shared_tiles, patches_in_registers)


def _step(kernel: str, qkv, heads: int):
    batch, tokens, width = qkv.shape
    out = array_module(qkv).empty((batch, tokens, width // 3), qkv.dtype)
    blocks = (batch * heads * -(-tokens // THREADS),)
    constants = constants_for(heads, qkv, out)
    launch("attention_steps", kernel, blocks, (THREADS,), (qkv, out, tokens, heads), **constants)
    return out
