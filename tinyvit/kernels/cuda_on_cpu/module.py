"""A compiled .cu file, called as CuPy calls one."""

import contextlib
import contextvars
import ctypes
import math
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tinyvit.kernels.cuda_on_cpu import structures
from tinyvit.kernels.cuda_on_cpu.build import build
from tinyvit.kernels.cuda_on_cpu.compiler import source_lines, static_shared_arrays
from tinyvit.kernels.cuda_on_cpu.guard import guarded
from tinyvit.kernels.cuda_on_cpu.source import Parameter, Source
from tinyvit.kernels.cuda_on_cpu.structures import Array, Launch
from tinyvit.kernels.cuda_on_cpu.trace import collect, prepare

MOST_THREADS = 1024  # of a block
MOST_BLOCKS = (2**31 - 1, 65535, 65535)
MOST_STATIC_SHARED = 48 << 10
MOST_SHARED = 227 << 10  # bytes that a block can have on an H100

_one_launch = threading.Lock()  # the library keeps the state of its one running launch in static variables
_with_fibers: list[ctypes.CDLL] = []  # the library that ran last
_order = contextvars.ContextVar("order", default=0)


@contextlib.contextmanager
def turns_in_order(order: int) -> Iterator[None]:
    """Within this block threads and blocks take their turns in another order: 0 first to last, 1 last to first, any
    other number shuffled with that seed. A kernel without races gives the same result in every order.

    In all orders but 0 the kernel works on copies of the arrays, between memory that nobody may touch: in order 1 each
    array ends there, in the others it begins there. Results are copied back.
    """
    token = _order.set(order)
    try:
        yield
    finally:
        _order.reset(token)


class CudaError(RuntimeError):
    """A kernel did what CUDA forbids: the message names block, thread and source line."""


class Module:
    """A .cu file compiled for the CPU, with the part of ``cupy.RawModule``'s interface that tinyvit uses.

    Args:
        path: the .cu file.
        constants: preprocessor constants, such as {"HEAD_WIDTH": 64}.
        text: what is in the file, which then need not be there.

    Attributes:
        source: the file and its kernels.
        checked: whether each access to memory is checked. Not every compiler can do that; without it only results that
            depend on the order of turns, divergence, and accesses far out of bounds are found.

    Raises:
        NoCompiler: there is no C++ compiler.
        RuntimeError: the compiler refused the file.
    """

    def __init__(self, path: Path, constants: dict[str, int] | None = None, text: str | None = None):
        self.source = Source(path, constants, text)
        built = build(self.source)
        self.path, self.checked = built.path, built.checked
        self.library = ctypes.CDLL(str(self.path))
        self.library.cuda_on_cpu_base.restype = ctypes.c_void_p
        self._static_shared = static_shared_arrays(self.path)

    @classmethod
    def from_text(cls, text: str, name: str | Path = "kernel.cu", constants: dict[str, int] | None = None) -> "Module":
        """A module of CUDA source that stands in no file; messages call it ``name``, and it includes from beside that.

        >>> module = Module.from_text('''
        ... extern "C" __global__ void twice(const float *x, float *y, int count) {
        ...     int i = blockIdx.x * blockDim.x + threadIdx.x;
        ...     if (i < count) y[i] = 2 * x[i];
        ... }''')
        >>> x, y = np.arange(5, dtype=np.float32), np.empty(5, np.float32)
        >>> module.get_function("twice")((1,), (32,), (x, y, 5))
        >>> y
        array([0., 2., 4., 6., 8.], dtype=float32)
        """
        return cls(Path(name), constants, text)

    def get_function(self, name: str) -> "Function":
        """The kernel of that name."""
        return Function(self, name)

    def static_shared(self, kernel: str) -> list[tuple[Array, np.dtype]]:
        """The ``__shared__`` arrays of a kernel, and the types of their elements."""
        found = []
        for owner, name, offset, size in self._static_shared:
            if owner == kernel or owner not in self.source.kernels:
                dtype = self.source.shared_arrays.get(name, np.dtype(np.uint8))
                start = self.library.cuda_on_cpu_base() + offset
                found.append(_piece(start, size, name, dtype, structures.STATIC_SHARED))
        return found

    def become_the_one_with_fibers(self) -> None:
        """Take the stacks of its threads from the library that ran before: see cuda_on_cpu_release in fibers.cpp."""
        if _with_fibers != [self.library]:
            for library in _with_fibers:
                library.cuda_on_cpu_release()
            _with_fibers[:] = [self.library]

    def lines(self, offsets: list[int]) -> dict[int, str]:
        """The "file:line" of code at offsets in the library."""
        return source_lines(self.path, offsets, self.source.path.name)


class Function:
    """One kernel. Calling it runs it to its end: ``function(grid, block, arguments, shared_mem=bytes)``."""

    def __init__(self, module: Module, name: str):
        self.name, self.parameters = name, module.source.kernels[name]
        self._module, self._launcher = module, getattr(module.library, f"cuda_on_cpu_launch_{name}")
        self._static_shared, self._dynamic_shared = module.static_shared(name), module.source.dynamic_shared

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple, *, shared_mem: int = 0) -> None:
        """Run the kernel.

        Args:
            grid, block: how many blocks, and threads in each, along up to three axes.
            args: a NumPy array (C-contiguous, of the type in the source), None for a null pointer, or a number, for
                each parameter.
            shared_mem: bytes of dynamic shared memory.

        Raises:
            CudaError: the kernel did what CUDA forbids, or the launch asks for more than there is.
            TypeError: an argument that does not fit its parameter.
        """
        grid, block = _three(grid), _three(block)
        self._check_sizes(grid, block, shared_mem)
        if len(args) != len(self.parameters):
            raise TypeError(f"{self.name} has {len(self.parameters)} parameters, given were {len(args)} arguments")
        values = [self._checked(*pair) for pair in zip(self.parameters, args, strict=True)]
        given = [i for i, value in enumerate(values) if isinstance(value, np.ndarray) and value.size]
        arrays, constant = [values[i] for i in given], [self.parameters[i].constant for i in given]
        order = _order.get()
        with guarded(arrays, constant, order == 1) if order else contextlib.nullcontext() as copies:
            addresses = dict(zip(given, copies or [array.ctypes.data for array in arrays], strict=True))
            self._launch(grid, block, shared_mem, order, values, addresses)

    def _check_sizes(self, grid: tuple[int, ...], block: tuple[int, ...], shared_mem: int) -> None:
        sizes = f"{self.name}: grid {grid}, block {block}"
        if min(*grid, *block) < 1:
            raise CudaError(f"{sizes}: each axis needs at least 1")
        if math.prod(block) > MOST_THREADS or block[2] > 64:
            raise CudaError(f"{sizes}: a block has at most {MOST_THREADS} threads, and 64 along its third axis")
        if any(size > most for size, most in zip(grid, MOST_BLOCKS, strict=True)):
            raise CudaError(f"{sizes}: a grid has at most {MOST_BLOCKS} blocks along its axes")
        static = sum(array.size for array, _ in self._static_shared)
        if static > MOST_STATIC_SHARED:
            raise CudaError(
                f"{self.name}: its __shared__ arrays take {static} bytes of {MOST_STATIC_SHARED} that there are"
            )
        if not 0 <= shared_mem <= MOST_SHARED - static:
            left = MOST_SHARED - static
            raise CudaError(f"{self.name}: {shared_mem} bytes of dynamic shared memory of {left} that there are")

    def _checked(self, parameter: Parameter, given) -> np.ndarray | np.generic | None:
        if not parameter.pointer:
            return parameter.dtype.type(given)
        if given is None:
            return None
        if not isinstance(given, np.ndarray) or given.dtype != parameter.dtype or not given.flags.c_contiguous:
            kind = type(given).__name__
            if isinstance(given, np.ndarray):
                kind = f"{given.dtype} array with strides {given.strides}"
            raise TypeError(
                f"{self.name}: {parameter.name} is a {kind}, expected a C-contiguous NumPy array of {parameter.dtype}"
            )
        return given

    def _launch(self, grid, block, shared_mem: int, order: int, values: list, addresses: dict[int, int]) -> None:
        """Run with the arrays among the values at these addresses."""
        shared = np.empty(shared_mem + 128, np.uint8)
        dynamic = -(-shared.ctypes.data // 128) * 128
        arrays = []
        for i, address in addresses.items():
            p = self.parameters[i]
            arrays.append(_piece(address, values[i].nbytes, p.name, p.dtype, structures.GLOBAL, p.constant))
        # Where the same array was given twice, an access is taken for one through the parameter that allows more.
        arrays.sort(key=lambda pair: pair[0].constant)
        arrays += self._static_shared
        if shared_mem:
            arrays.append(_piece(dynamic, shared_mem, *self._dynamic_shared, structures.DYNAMIC_SHARED))
        launch = Launch(
            grid=structures.Index(*grid),
            block=structures.Index(*block),
            dynamic_shared_size=shared_mem,
            dynamic_shared=dynamic,
            order=order,
            array_count=len(arrays),
            arrays=(Array * len(arrays))(*(array for array, _ in arrays)),
        )
        trace = prepare(launch)
        if trace and not self._module.checked:
            raise RuntimeError(f"{self.name} cannot be traced: this C++ compiler does not tell of accesses, g++ does")
        cells = [
            np.array([addresses.get(i, 0)], np.uint64) if parameter.pointer else np.array([value])
            for i, (parameter, value) in enumerate(zip(self.parameters, values, strict=True))
        ]
        pointers = (ctypes.c_void_p * len(cells))(*(cell.ctypes.data for cell in cells))
        with _one_launch:
            self._module.become_the_one_with_fibers()
            failed = self._launcher(ctypes.byref(launch), pointers)
        if trace:
            collect(trace, launch, arrays, self._module.lines)
        if failed:
            raise CudaError(f"{self.name}: {self._readable(launch.message.decode())}")

    def _readable(self, message: str) -> str:
        """The message of an error with lines of the source for offsets in the library."""
        offsets = [int(offset, 16) for offset in re.findall(r"<\+(\w+)>", message)]
        lines = self._module.lines(offsets)
        return re.sub(r"<\+(\w+)>", lambda found: lines[int(found[1], 16)], message)


def _piece(
    start: int, size: int, name: str, dtype: np.dtype, memory: int, constant: bool = False
) -> tuple[Array, np.dtype]:
    """A piece of memory, as the library and as Python know it."""
    return Array(start, size, name.encode(), dtype.itemsize, memory, constant), dtype


def _three(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return (*map(int, sizes), *[1] * (3 - len(sizes)))
