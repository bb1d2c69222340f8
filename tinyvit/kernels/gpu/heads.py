"""How a row of queries, keys and values is split over heads, and what attention's kernels are compiled with for it."""

from tinyvit.errors import InputError
from tinyvit.kernels.gpu.launch import storage
from tinyvit.kernels.gpu.vectors import vectors

WIDEST_HEAD = 128


def constants_for(heads: int, qkv, *others) -> dict[str, int]:
    """The constants for qkv (B, N, 3 D), and other arrays given to the kernel whose last axis is split over the heads.

    Arrays that are new need not be named: they begin at a multiple of 16 bytes.

    Raises:
        ValueError: the heads do not divide D.
        InputError: they are wider than the kernels are written for.
        TypeError: neither float32 nor bfloat16.
    """
    width, rest = divmod(qkv.shape[-1], 3 * heads)
    if rest:
        raise ValueError(f"qkv is {qkv.shape[-1]} wide: expected queries, keys and values of {heads} heads")
    if width > WIDEST_HEAD:
        raise InputError(
            f"{heads} heads of attention are {width} wide: on the GPU a head is at most {WIDEST_HEAD} wide, take more"
        )
    by_head = (array.reshape(-1, width) for array in (qkv, *others))
    return {"HEAD_WIDTH": width, **vectors(*by_head), **storage(qkv)}
