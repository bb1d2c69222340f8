"""Layer normalisation (Ba et al., 2016) on the GPU: see layer_norm.cu."""

from tinyvit.device import array_module
from tinyvit.kernels.gpu.launch import launch, storage
from tinyvit.kernels.gpu.shapes import expect_shape
from tinyvit.kernels.gpu.sums import sum_of_partials
from tinyvit.kernels.gpu.vectors import vector_length, vectors

WARPS = 4  # rows that a block works on at a time, one each; as in layer_norm.cu
MOST_HELD = 40  # numbers of a row that a lane can keep in registers: rows of up to 1280
MULTIPROCESSORS = 132  # of an H100; a constant, so that sums are added in the same order on every GPU
MOST_WIDE_BLOCKS = 8 * MULTIPROCESSORS


def layer_norm_forward(x, gamma, beta, eps: float):
    """y = gamma (x - mean) / sqrt(var + eps) + beta over the last axis: x (..., D), gamma and beta (D,).

    Returns:
        y (..., D), and for backward: x itself, and mean and 1 / sqrt(var + eps) of each row, float32 (rows, 2).

    Raises:
        TypeError: x is neither float32 nor bfloat16, or the arrays are not all of one type.
        ValueError: gamma or beta is not (D,).
    """
    x, y, statistics = _forward(x, None, gamma, beta, eps)
    return y, x, statistics


def add_layer_norm_forward(x, branch, gamma, beta, eps: float):
    """z = x + branch, both (..., D), as the type of x stores it, and y = layer norm of z; one pass over memory.

    Returns:
        z and y (..., D), and for backward: z again, and mean and 1 / sqrt(var + eps) of each row, float32 (rows, 2).

    Raises:
        TypeError: x is neither float32 nor bfloat16, or the arrays are not all of one type.
        ValueError: branch has another shape than x, or gamma or beta is not (D,).
    """
    z, y, statistics = _forward(x, branch, gamma, beta, eps)
    return z, y, z, statistics


def layer_norm_backward(dout, x, statistics, gamma):
    """dout (..., D) and what forward returned -> dx (..., D), dgamma (D,), dbeta (D,).

    Raises:
        TypeError, ValueError: as of layer_norm_forward.
    """
    return add_layer_norm_backward(None, dout, x, statistics, gamma)


def add_layer_norm_backward(dz, dy, z, statistics, gamma):
    """dz and dy (..., D) and what forward returned -> dx (..., D), which is the gradient of x and of branch,
    dgamma (D,), dbeta (D,). dz is None where nothing but the layer norm uses z.

    Raises:
        TypeError, ValueError: as of add_layer_norm_forward.
    """
    xp, width = array_module(dy), dy.shape[-1]
    rows = dy.size // width
    expect_shape(dy.shape, dz=dz, z=z)
    expect_shape((width,), gamma=gamma)
    expect_shape((rows, 2), statistics=statistics)
    dy, z, gamma = map(xp.ascontiguousarray, (dy, z, gamma))
    dz = None if dz is None else xp.ascontiguousarray(dz)
    dx = xp.empty_like(dy)
    constants, held = _in_registers(width, dy, z, gamma, dx, *(() if dz is None else (dz,)))
    if held:
        at_once = 6 if held <= 8 else 4 if held <= 16 else 3 if held <= 24 else 2  # BLOCKS in layer_norm.cu
        warps, most = WARPS, MULTIPROCESSORS * at_once
    else:
        warps, most = 1, MOST_WIDE_BLOCKS
    blocks = max(1, min(-(-rows // warps), most))
    partials = xp.empty((blocks, 2 * width), xp.float32)
    launch(
        "layer_norm",
        "layer_norm_backward" if held else "layer_norm_backward_wide",
        (blocks,),
        (32, warps),
        (dz, dy, z, statistics, gamma, dx, partials, rows, width),
        **constants,
    )
    sums = sum_of_partials(partials, gamma.dtype)
    return dx, sums[:width], sums[width:]


def _forward(x, branch, gamma, beta, eps: float):
    """z (x itself without a branch), y and the statistics."""
    xp, width = array_module(x), x.shape[-1]
    rows = x.size // width
    expect_shape(x.shape, branch=branch)
    expect_shape((width,), gamma=gamma, beta=beta)
    x, gamma, beta = map(xp.ascontiguousarray, (x, gamma, beta))
    y, statistics = xp.empty_like(x), xp.empty((rows, 2), xp.float32)
    if branch is None:
        z, sum_here, arrays = x, None, (x, gamma, beta, y)
    else:
        branch, z = xp.ascontiguousarray(branch), xp.empty_like(x)
        sum_here, arrays = z, (x, gamma, beta, y, branch, z)
    constants, held = _in_registers(width, *arrays)
    launch(
        "layer_norm",
        "layer_norm_forward" if held else "layer_norm_forward_wide",
        (max(1, -(-rows // WARPS)),),
        (32, WARPS),
        (x, branch, gamma, beta, sum_here, y, statistics, rows, width, eps),
        **constants,
    )
    return z, y, statistics


def _in_registers(width: int, *arrays) -> tuple[dict[str, int], int]:
    """The constants to compile with for rows of this width, and how many numbers of one a lane keeps in registers:
    0 where there are too many for that."""
    vector = vector_length(*arrays)
    pieces = -(-width // (32 * vector))
    if pieces * vector > MOST_HELD:
        return {**storage(arrays[0]), "VECTOR": 1, "PIECES": 1}, 0
    return {**storage(arrays[0]), **vectors(*arrays), "PIECES": pieces}, pieces * vector
