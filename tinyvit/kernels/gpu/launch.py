"""Launches a kernel of a .cu file: on the GPU for CuPy arrays, through cuda_on_cpu for NumPy arrays."""

import functools
from pathlib import Path

import numpy as np

from tinyvit.device import array_module, is_array, is_gpu_array
from tinyvit.kernels import cuda_on_cpu
from tinyvit.kernels.cuda_on_cpu import Parameter, Source
from tinyvit.kernels.gpu.headers import header_folders

FOLDER = Path(__file__).parent
MOST_STATIC_SHARED = 48 << 10  # bytes of shared memory that a kernel gets without asking


def launch(
    file: str,
    kernel: str,
    grid: tuple[int, ...],
    block: tuple[int, ...],
    arguments: tuple,
    *,
    shared_memory: int = 0,
    **constants: int,
) -> None:
    """Run ``kernel`` of ``<file>.cu`` on the current stream.

    Args:
        file: name of a .cu file in this folder.
        kernel: name of an ``extern "C" __global__`` function in it.
        grid, block: how many blocks, and threads in each, along up to three axes.
        arguments: arrays (all NumPy or all CuPy, None for a null pointer) and Python numbers, one for each parameter.
        shared_memory: bytes of dynamic shared memory.
        constants: preprocessor constants to compile with.

    Raises:
        TypeError: an array that is not C-contiguous or of another type than the kernel's parameter: the kernel would
            read the wrong numbers, since it sees an address only.
    """
    on_gpu = any(is_gpu_array(argument) for argument in arguments)
    function, parameters = _function(file, kernel, tuple(sorted(constants.items())), on_gpu)
    if len(arguments) != len(parameters):
        raise TypeError(f"{kernel} has {len(parameters)} parameters, given were {len(arguments)} arguments")
    values = tuple(
        _checked(kernel, parameter, argument, on_gpu) for parameter, argument in zip(parameters, arguments, strict=True)
    )
    if on_gpu and shared_memory > MOST_STATIC_SHARED and function.max_dynamic_shared_size_bytes < shared_memory:
        function.max_dynamic_shared_size_bytes = shared_memory
    function(grid, block, values, shared_mem=shared_memory)


def storage(array) -> dict[str, int]:
    """The constants that make ``T``, the type of activations, that of ``array``.

    Raises:
        TypeError: a type that the kernels are not written for.
    """
    if array.dtype == np.float32:
        return {}
    if array.dtype.name == "bfloat16":
        return {"BFLOAT16": 1}
    raise TypeError(f"the CUDA kernels compute with float32 and bfloat16, not {array.dtype}: convert it with astype")


@functools.cache
def _function(file: str, kernel: str, constants: tuple, on_gpu: bool):
    module, source = _module(file, constants, on_gpu)
    return module.get_function(kernel), source.kernels[kernel]


@functools.cache
def _module(file: str, constants: tuple, on_gpu: bool):
    path = FOLDER / f"{file}.cu"
    if not on_gpu:
        module = cuda_on_cpu.Module(path, dict(constants))
        return module, module.source
    import cupy

    source = Source(path, dict(constants))
    # CuPy's cache knows a program by its own text and options, and so would miss a change in what it includes.
    folders = (FOLDER, *header_folders())
    options = (*source.options, *(f"-I{folder}" for folder in folders), "--std=c++17", f"-DDIGEST={source.digest}")
    return cupy.RawModule(code=source.text, options=options), source


def _checked(kernel: str, parameter: Parameter, argument, on_gpu: bool):
    """``argument`` as the kernel takes it, after proving that it fits ``parameter``."""
    if not parameter.pointer:
        return parameter.dtype.type(argument)
    if argument is None:
        return None
    if not is_array(argument) or is_gpu_array(argument) != on_gpu:
        expected = "CuPy" if on_gpu else "NumPy"
        raise TypeError(f"{kernel}: {parameter.name} is a {type(argument).__name__}, expected a {expected} array")
    if argument.dtype != parameter.dtype or not argument.flags.c_contiguous:
        found = f"{argument.dtype}, {'C-contiguous' if argument.flags.c_contiguous else 'with strides'}"
        raise TypeError(
            f"{kernel}: {parameter.name}, of shape {argument.shape}, is {found}: expected {parameter.dtype}, "
            f"C-contiguous; make it so with {array_module(argument).__name__}.ascontiguousarray and astype"
        )
    return argument
