"""A compiled .cu file, called as CuPy calls one."""

import contextlib
import contextvars
import ctypes
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tinyvit.kernels.cuda_on_cpu.build import build
from tinyvit.kernels.cuda_on_cpu.source import Parameter, Source

_one_launch = threading.Lock()  # the library keeps the state of its one running launch in static variables
_order = contextvars.ContextVar("order", default=0)


@contextlib.contextmanager
def turns_in_order(order: int) -> Iterator[None]:
    """Within this block threads and blocks take their turns in another order: 0 first to last, 1 last to first, any
    other number shuffled with that seed. A kernel without races gives the same result in every order."""
    token = _order.set(order)
    try:
        yield
    finally:
        _order.reset(token)


class CudaError(RuntimeError):
    """A kernel did what CUDA forbids: the message names block, thread and source line."""


class _Launch(ctypes.Structure):
    """The struct Launch of blocks.cpp."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("dynamic_shared_size", ctypes.c_size_t),
        ("dynamic_shared", ctypes.c_void_p),
        ("order", ctypes.c_int),
        ("message", ctypes.c_char * 1000),
    )


class Module:
    """A .cu file compiled for the CPU, with the part of ``cupy.RawModule``'s interface that tinyvit uses.

    Args:
        path: the .cu file.
        constants: preprocessor constants, such as {"HEAD_WIDTH": 64}.

    Raises:
        NoCompiler: there is no C++ compiler.
        RuntimeError: the compiler refused the file.
    """

    def __init__(self, path: Path, constants: dict[str, int] | None = None):
        self.source = Source(path, constants)
        self._library = ctypes.CDLL(str(build(self.source)))

    def get_function(self, name: str) -> "Function":
        """The kernel of that name."""
        return Function(self, name, getattr(self._library, f"cuda_on_cpu_launch_{name}"))


class Function:
    """One kernel. Calling it runs it to its end: ``function(grid, block, arguments, shared_mem=bytes)``."""

    def __init__(self, module: Module, name: str, launcher):
        self.name, self.parameters = name, module.source.kernels[name]
        self._launcher = launcher

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple, *, shared_mem: int = 0) -> None:
        shared = np.empty(shared_mem + 64, np.uint8)
        aligned = -(-shared.ctypes.data // 64) * 64
        launch = _Launch(_three(grid), _three(block), shared_mem, aligned, _order.get())
        values = [_value(self.name, *pair) for pair in zip(self.parameters, args, strict=True)]
        pointers = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        with _one_launch:
            failed = self._launcher(ctypes.byref(launch), pointers)
        if failed:
            raise CudaError(f"{self.name}: {launch.message.decode()}")


def _three(sizes: tuple[int, ...]) -> ctypes.Array:
    return (ctypes.c_uint * 3)(*sizes, *[1] * (3 - len(sizes)))


def _value(kernel: str, parameter: Parameter, given) -> np.ndarray:
    """The bytes that the kernel gets for an argument: of an array its address, of a scalar its value."""
    if parameter.pointer:
        return np.array([0 if given is None else given.ctypes.data], np.uint64)
    return np.array([given], parameter.dtype)
