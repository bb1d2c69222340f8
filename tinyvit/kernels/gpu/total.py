"""The sum of a few numbers, as the last part of a sum over many: see total.cu."""

from tinyvit.device import array_module
from tinyvit.kernels.gpu.launch import launch

THREADS = 1024


def total(values, factor: float = 1.0):
    """``factor`` times the sum of ``values``, float32 of one axis: a float32 array of no axes."""
    xp = array_module(values)
    result = xp.empty((), xp.float32)
    launch("total", "total", (1,), (THREADS,), (values, result, values.size, factor))
    return result
