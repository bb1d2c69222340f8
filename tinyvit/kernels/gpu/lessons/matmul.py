"""The product of two matrices in four steps: see matmul_steps.cu. Training leaves it to cuBLAS."""

from tinyvit.device import array_module
from tinyvit.kernels.gpu.launch import launch, storage


def matmul_naive(a, b):
    """Step 1, a thread for each number of the result: a (M, K) b (K, N) -> (M, N), float32 or bfloat16.

    Raises:
        ValueError: a has not as many columns as b has rows.
        TypeError: arrays of another type, with strides, or not of one type; so in the steps that follow.
    """
    return _product("matmul_naive", (8, 32), (32, 8), a, b)


def matmul_tiles(a, b):
    """Step 2, tiles in shared memory: as ``matmul_naive``."""
    return _product("matmul_tiles", (32, 32), (32, 32), a, b)


def matmul_registers(a, b):
    """Step 3, tiles in registers: as ``matmul_naive``."""
    return _product("matmul_registers", (128, 128), (16, 16), a, b)


def matmul_tensor_cores(a, b):
    """Step 4, on tensor cores: as ``matmul_naive``, of bfloat16 only."""
    return _product("matmul_tensor_cores", (64, 64), (128,), a, b)


def _product(kernel: str, tile: tuple[int, int], block: tuple[int, ...], a, b):
    """Run a kernel whose blocks compute ``tile`` (rows, columns) of the result each."""
    (rows, depth), (depth_of_b, columns) = a.shape, b.shape
    if depth != depth_of_b:
        raise ValueError(f"a {a.shape} has {depth} columns and b {b.shape} has {depth_of_b} rows: they must be as many")
    c = array_module(a).empty((rows, columns), a.dtype)
    grid = (-(-columns // tile[1]), -(-rows // tile[0]))
    launch("matmul_steps", kernel, grid, block, (a, b, c, rows, columns, depth), **storage(a))
    return c
