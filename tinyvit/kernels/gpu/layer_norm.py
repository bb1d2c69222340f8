"""Layer normalisation (Ba et al., 2016) on the GPU: see layer_norm.cu."""

from tinyvit.device import array_module
from tinyvit.kernels.gpu.launch import launch, storage

WARPS = 4  # rows that a block works on, one each


def layer_norm_forward(x, gamma, beta, eps: float):
    """y = gamma (x - mean) / sqrt(var + eps) + beta over the last axis: x (..., D), gamma and beta (D,).

    Returns:
        y (..., D), and for backward: x itself, and mean and 1 / sqrt(var + eps) of each row, float32 (rows, 2).
    """
    xp, width = array_module(x), x.shape[-1]
    rows = x.size // width
    y, statistics = xp.empty_like(x), xp.empty((rows, 2), xp.float32)
    launch(
        "layer_norm",
        "layer_norm_forward",
        (-(-rows // WARPS),),
        (32 * WARPS,),
        (x, gamma, beta, y, statistics, rows, width, eps),
        **storage(x),
    )
    return y, x, statistics
