"""Which array library an array belongs to. CuPy is never imported here: its arrays prove it is loaded."""

import sys
from types import ModuleType

import numpy as np


def is_gpu_array(array: object) -> bool:
    """True for a CuPy array."""
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(array, cupy.ndarray)


def array_module(array: object) -> ModuleType:
    """``cupy`` for a CuPy array, ``numpy`` for everything else."""
    return sys.modules["cupy"] if is_gpu_array(array) else np


def is_array(value: object) -> bool:
    """True for a NumPy or CuPy array."""
    return isinstance(value, np.ndarray) or is_gpu_array(value)
