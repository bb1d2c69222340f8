"""Layer normalisation in three steps, each faster than the one before: see layer_norm_steps.cu."""

from tinyvit.device import array_module
from tinyvit.kernels.gpu.launch import launch, storage

THREADS = 128
LARGEST_WIDTH = 1280  # of a row that a warp keeps in registers


def a_thread_a_row(x, gamma, beta, eps: float):
    """y (..., D) for x (..., D), gamma and beta (D,), all C-contiguous: step 1."""
    return _step("layer_norm_thread_a_row", THREADS, x, gamma, beta, eps)


def a_block_a_row(x, gamma, beta, eps: float):
    """The same by step 2."""
    return _step("layer_norm_block_a_row", 1, x, gamma, beta, eps)


def a_warp_a_row(x, gamma, beta, eps: float):
    """The same by step 3.

    Raises:
        ValueError: D is more than a warp can keep in registers.
    """
    width = x.shape[-1]
    if width > LARGEST_WIDTH:
        raise ValueError(f"a row has {width} numbers, a warp keeps up to {LARGEST_WIDTH} in registers")
    return _step("layer_norm_warp_a_row", THREADS // 32, x, gamma, beta, eps, HELD=-(-width // 32))


STEPS = (a_thread_a_row, a_block_a_row, a_warp_a_row)


def _step(kernel: str, rows_a_block: int, x, gamma, beta, eps: float, **constants: int):
    width = x.shape[-1]
    rows = x.size // width
    y = array_module(x).empty_like(x)
    grid = (-(-rows // rows_a_block),)
    arguments = (x, gamma, beta, y, rows, width, eps)
    launch("layer_norm_steps", kernel, grid, (THREADS,), arguments, **storage(x), **constants)
    return y
