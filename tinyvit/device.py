"""Which array library an array belongs to, and where a model computes. CuPy is never imported here: its arrays prove it
is loaded."""

import dataclasses
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


def to_numpy(array) -> np.ndarray:
    """The array in ordinary memory: itself if it is there. Waits for the GPU if it is not."""
    return array.get() if is_gpu_array(array) else array


def is_floating(dtype: np.dtype) -> bool:
    """True for floating-point types, bfloat16 included: NumPy does not know that one as such."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def dtype_named(name: str) -> np.dtype:
    """The type of a name, "bfloat16" included: that one comes with the package ml_dtypes."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


@dataclasses.dataclass(frozen=True)
class Device:
    """Where a model computes, and in which type.

    Attributes:
        xp: the array library: numpy, or cupy for a GPU.
        precision: "float32", "tf32" (float32, but matrix products round their factors to 10 bits) or "bfloat16".
        name: what to call it, such as "CPU" or the GPU's name.
    """

    xp: ModuleType = np
    precision: str = "float32"
    name: str = "CPU"

    @property
    def dtype(self) -> np.dtype:
        """The type of activations and of the parameters that they meet."""
        return dtype_named("bfloat16" if self.precision == "bfloat16" else "float32")

    @property
    def is_gpu(self) -> bool:
        return self.xp is not np

    def put(self, array, dtype=None):
        """The array on this device, converted to ``dtype`` if given."""
        return self.xp.asarray(array, dtype=dtype)


CPU = Device()
