"""The two ways to run a CUDA kernel: through cuda_on_cpu, always, and on a GPU, where there is one (marker gpu)."""

import dataclasses
import functools
from types import ModuleType

import numpy as np
import pytest

from tinyvit.kernels.cuda_on_cpu import turns_in_order


@dataclasses.dataclass(frozen=True)
class Device:
    """Where kernels run in a test.

    Attributes:
        xp: the array library whose arrays take them there.
        orders: the orders of threads to try: a GPU has only its own.
    """

    xp: ModuleType
    orders: tuple[int, ...]

    def to(self, *arrays: np.ndarray):
        """The arrays as C-contiguous ones on the device: one, or a tuple of several."""
        moved = tuple(self.xp.asarray(np.ascontiguousarray(array)) for array in arrays)
        return moved[0] if len(moved) == 1 else moved

    def back(self, array) -> np.ndarray:
        """A result as a NumPy array, in float64 where it is of floating point."""
        array = array if isinstance(array, np.ndarray) else self.xp.asnumpy(array)
        return array if array.dtype.kind in "iub" else array.astype(np.float64)

    def in_every_order(self, kernel, *args, **kwargs):
        """The result of ``kernel(*args)``, after proving that every order of threads gives the same, bit for bit."""
        results = []
        for order in self.orders:
            with turns_in_order(order):
                results.append(kernel(*args, **kwargs))
        for other in results[1:]:
            for a, b in zip(_arrays(results[0]), _arrays(other), strict=True):
                np.testing.assert_array_equal(self.back(a), self.back(b), "the order of threads changes the result")
        return results[0]


def _arrays(result) -> list:
    parts = result if isinstance(result, tuple) else (result,)
    return [part for part in parts if part is not None]


@functools.cache
def usable_gpu() -> Device | str:
    """The GPU, or why there is none."""
    try:
        import cupy

        cupy.RawKernel('extern "C" __global__ void nothing() {}', "nothing")((1,), (1,), ())
        cupy.cuda.runtime.deviceSynchronize()
    except Exception as error:
        return f"no usable GPU: {type(error).__name__}: {error}"
    return Device(cupy, (0,))


def device_named(name: str) -> Device:
    """The device "cuda_on_cpu" or "gpu"; skips the test where there is no GPU."""
    if name == "cuda_on_cpu":
        return Device(np, (0, 1, 2))
    gpu = usable_gpu()
    if isinstance(gpu, str):
        pytest.skip(gpu)
    return gpu


DEVICES = ["cuda_on_cpu", pytest.param("gpu", marks=pytest.mark.gpu)]
PRECISIONS = {"float32": 1e-5, "bfloat16": 1e-2}
"""Type of the activations -> the error allowed, relative to the largest number of the result."""


def close(found: np.ndarray, expected: np.ndarray, tolerance: float, of: np.ndarray | float | None = None) -> None:
    """Prove that the error is at most ``tolerance`` of the largest number expected, or of the largest number in ``of``.

    ``of`` is for results that may all be tiny differences of larger numbers, whose rounding they inherit.
    """
    assert found.shape == expected.shape
    scale = max(float(np.max(np.abs(expected if of is None else of), initial=0.0)), 1e-30)
    error = float(np.max(np.abs(found - expected), initial=0.0)) / scale
    assert error <= tolerance, f"the error is {error:.3g} of the largest number, allowed are {tolerance:g}"


def rounded(array: np.ndarray, precision: str) -> np.ndarray:
    """``array`` in the type of activations: the oracle must start from the same rounded numbers."""
    if precision == "bfloat16":
        import ml_dtypes

        return array.astype(ml_dtypes.bfloat16)
    return array.astype(precision)
