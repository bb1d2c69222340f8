"""Finds a GPU that can be used, and says why there is none."""

import contextlib
import dataclasses
import sys

import numpy as np

from tinyvit.device import Device
from tinyvit.errors import InputError, unknown

PRECISIONS = ("float32", "tf32", "bfloat16")
TENSOR_CORES = 80  # compute capability 8.0, Ampere: the first with TF32 and bfloat16

_for_good = contextlib.ExitStack()  # what is set for as long as the process lives


class NoGPU(RuntimeError):
    """No GPU can be used; the message says why, and what to do about it."""


class BrokenGPU(NoGPU):
    """There is a GPU, but something that it needs is missing."""


@dataclasses.dataclass(frozen=True)
class GPU:
    """A GPU that has run a kernel.

    Attributes:
        number: as CUDA counts them.
        name: as the driver gives it.
        capability: compute capability times ten, such as 90 for an H100.
        free, total: bytes of memory.
    """

    number: int
    name: str
    capability: int
    free: int
    total: int


def find_gpus() -> list[GPU]:
    """Every GPU that can be used: one on which a small kernel has run and for which cuBLAS is there.

    Raises:
        NoGPU: there is none.
    """
    # All kinds of errors mean the same here: CuPy's parts are loaded one by one, and each fails in its own way.
    try:
        import cupy
    except ModuleNotFoundError as error:
        if error.name != "cupy":
            raise BrokenGPU(f"CuPy cannot be loaded ({error}): install it anew") from error
        raise NoGPU(
            "CuPy is not installed: pip install -e '.[cuda13]' (or cuda12, for a driver older than 580)"
        ) from error
    except Exception as error:
        raise BrokenGPU(f"CuPy cannot be loaded ({type(error).__name__}: {error}): install it anew") from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except RuntimeError as error:
        raise NoGPU(f"no NVIDIA GPU, or its driver is missing or too old ({error}): install or update it") from error
    if not count:
        raise NoGPU("the driver shows no GPU: is CUDA_VISIBLE_DEVICES set to an empty list?")
    found, broken = [], []
    for number in range(count):
        try:
            found.append(_tried(cupy, number))
        except BrokenGPU as error:
            broken.append(error)
    if not found:
        raise broken[0]
    return found


def _tried(cupy, number: int) -> GPU:
    """GPU ``number``, after it has run a kernel and a matrix product.

    Raises:
        BrokenGPU: it could not.
    """
    try:
        with cupy.cuda.Device(number) as device:
            cupy.RawKernel('extern "C" __global__ void nothing() {}', "nothing")((1,), (1,), ())
            two = cupy.ones((2, 2), np.float32)
            (two @ two).sum().item()
            free, total = device.mem_info
            properties = cupy.cuda.runtime.getDeviceProperties(number)
    except Exception as error:
        raise BrokenGPU(
            f"GPU {number} does not work ({type(error).__name__}: {error}): "
            "python -m tinyvit.doctor says which part is missing"
        ) from error
    return GPU(number, properties["name"].decode(), int(device.compute_capability), free, total)


def choose(gpus: list[GPU], number: int | None) -> GPU:
    """GPU ``number``, or the one with the most free memory.

    Raises:
        InputError: there is no GPU of that number.
    """
    if number is None:
        return max(gpus, key=lambda gpu: gpu.free)
    for gpu in gpus:
        if gpu.number == number:
            return gpu
    raise InputError(f"there is no GPU {number}: choose {' or '.join(f'gpu:{gpu.number}' for gpu in gpus)}")


def use(gpu: GPU, precision: str) -> Device:
    """Make ``gpu`` the one that CuPy computes on, in this thread and for as long as the process lives."""
    import cupy

    if precision != "float32" and gpu.capability < TENSOR_CORES:
        raise InputError(
            f"precision {precision!r} needs a GPU of compute capability 8.0 or more (Ampere or newer), but "
            f"{gpu.name} has {gpu.capability / 10}: leave --precision out"
        )
    cupy.cuda.Device(gpu.number).use()
    if precision == "tf32":
        from tinyvit.kernels.gpu.tf32 import use_tf32

        _for_good.enter_context(use_tf32())
    return Device(cupy, precision, gpu.name)


def parse(name: str) -> tuple[str, int | None]:
    """``--device`` as ("auto", "cpu" or "gpu", the GPU's number if one is named).

    Raises:
        InputError: anything else.
    """
    kind, colon, number = name.partition(":")
    if kind not in ("auto", "cpu", "gpu") or (colon and (kind != "gpu" or not number.isdigit())):
        raise unknown("device", name, ("auto", "cpu", "gpu", "gpu:0"))
    return kind, int(number) if colon else None


def memory_error(error: BaseException) -> str | None:
    """Why a GPU's memory was not enough, where that is what ``error`` says; None for every other error."""
    cupy = sys.modules.get("cupy")
    if cupy is None:
        return None
    # cuBLAS and the driver take memory of their own, beside CuPy's pool.
    others = ("cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED")
    if not isinstance(error, cupy.cuda.memory.OutOfMemoryError) and not str(error).startswith(others):
        return None
    size = getattr(error, "_size", None)
    asked = f"{size / 1e9:.2f} GB more were asked for" if size else "more was asked for"
    try:
        free, total = cupy.cuda.Device().mem_info
        held = cupy.get_default_memory_pool().total_bytes()
    except Exception:  # after an error of the driver it may answer nothing any more
        return f"the GPU is out of memory: {asked}"
    return (
        f"the GPU is out of memory: {asked}; of its {total / 1e9:.1f} GB this program holds {held / 1e9:.1f}, "
        f"{free / 1e9:.1f} are free"
    )
