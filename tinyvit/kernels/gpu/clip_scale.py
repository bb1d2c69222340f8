"""By what the gradient is multiplied before a step: see clip_scale.cu."""

from tinyvit.device import array_module
from tinyvit.kernels.gpu.launch import launch


def clip_scale(squared_norm, loss, largest: float):
    """min(1, largest / norm), norm the root of ``squared_norm``: what the gradient is multiplied with to clip it; 1
    where ``largest`` is 0.

    NaN where the loss or the norm is not finite. ``squared_norm`` and ``loss`` are arrays of no axes, and so is the
    scale, float32: nothing waits for the GPU.
    """
    xp = array_module(squared_norm)
    # NumPy, but not CuPy, makes a scalar of what is computed from arrays of no axes.
    squared_norm, loss = (xp.asarray(number, xp.float32) for number in (squared_norm, loss))
    scale = xp.empty((), xp.float32)
    launch("clip_scale", "clip_scale", (1,), (1,), (squared_norm, loss, largest, scale))
    return scale
