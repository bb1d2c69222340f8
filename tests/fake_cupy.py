"""A stand-in for CuPy on a machine without a GPU: arrays in ordinary memory that keep CuPy's rules.

Its arrays refuse to mix with NumPy's, as CuPy's do; reductions and single elements stay arrays; each look at a value
from Python (``float``, ``get``, ``if``, a mask as an index) is counted as a synchronisation; what streams share must be
in order (see fake_streams.py); RawModule runs kernels through cuda_on_cpu. So the code that is written for CuPy runs in
tests, all but the GPU itself. Where CuPy is installed, the stand-in has no function that CuPy lacks.
"""

import contextlib
import functools
import importlib
import sys
import types
from pathlib import Path

import fake_streams
import numpy as np
from fake_streams import Counts, Event, Order, Stream

from tinyvit.kernels import cuda_on_cpu
from tinyvit.kernels.gpu import launch

MEMORY = 16 << 30
WAIT = {"argwhere", "bincount", "flatnonzero", "nonzero", "unique"}  # for the size of their results
KEYWORDS_OF_UFUNCS = {"out", "casting", "dtype"}


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array "on the device"."""

    order: Order
    __hash__ = None

    def __init__(self, host: np.ndarray):
        self.host = host
        self.order.memory(host)

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct one.")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        assert kwargs.keys() <= KEYWORDS_OF_UFUNCS, f"CuPy's {ufunc.__name__} has none of {set(kwargs)}"
        result = getattr(ufunc, method)(*_unwrapped(inputs), **_unwrapped(kwargs))
        if ufunc is np.matmul and inputs[0].dtype.name == "bfloat16":
            result = result.astype(inputs[0].dtype)  # NumPy leaves it in float32
        return _wrapped(result)

    def __array_function__(self, function, _types, args, kwargs):
        return _wrapped(function(*_unwrapped(args), **_unwrapped(kwargs)))

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        value = getattr(self.host, name)
        if not callable(value):
            return _wrapped(value)

        @functools.wraps(value)
        def method(*args, **kwargs):
            if name in WAIT:
                self.order.counts.wait()
            self.order.use(self.host)
            return _wrapped(value(*_unwrapped(args), **_unwrapped(kwargs)))

        return method

    def __getitem__(self, index):
        if self._waits_for(index):
            self.order.use(self.host)
        return _wrapped(self.host[_unwrapped(index)])

    def __setitem__(self, index, value):
        self._waits_for(index)
        self.order.use(self.host, write=True)
        self.host[_unwrapped(index)] = _unwrapped(value)

    def _waits_for(self, index) -> bool:
        """Whether there are arrays in an index; a mask has to be counted before the result can be made."""
        arrays = [part for part in (index if isinstance(index, tuple) else (index,)) if isinstance(part, ndarray)]
        if any(part.host.dtype == bool for part in arrays):
            self.order.counts.wait()
        return bool(arrays)

    def __len__(self):
        return len(self.host)

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.host.ctypes.data)

    def __repr__(self):
        return f"fake_cupy.{self.host!r}"

    # What makes Python wait for the device.

    def get(self, **_) -> np.ndarray:
        self.order.use(self.host)
        fake_streams.current().synchronize()
        return self.host.copy()

    def item(self):
        return self.get().item()

    def tolist(self):
        return self.get().tolist()

    def __float__(self):
        return float(self.get())

    def __int__(self):
        return int(self.get())

    def __bool__(self):
        return bool(self.get())

    def set(self, array: np.ndarray, stream=None) -> None:
        """Copies from ordinary memory."""
        assert isinstance(array, np.ndarray) and array.dtype == self.host.dtype and array.shape == self.host.shape
        with stream or contextlib.nullcontext():
            self.order.use(self.host, write=True)
        self.order.copy(array, stream)
        self.host[...] = array


def _unwrapped(value):
    if isinstance(value, ndarray):
        value.order.use(value.host)
        return value.host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")  # CuPy's words
    if isinstance(value, tuple | list):
        return type(value)(_unwrapped(part) for part in value)
    if isinstance(value, dict):
        return {name: _unwrapped(part) for name, part in value.items()}
    return value


def _wrapped(value):
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(_wrapped(part) for part in value)
    if isinstance(value, list):
        return [_wrapped(part) for part in value]
    # NumPy makes scalars where CuPy keeps arrays without axes.
    return ndarray(np.asarray(value)) if isinstance(value, np.ndarray | np.generic) else value


class RawModule:
    """Compiles a .cu file of tinyvit's for the CPU; its kernels take arrays on the device only."""

    def __init__(self, *, code: str, options: tuple[str, ...]):
        (path,) = (path for path in Path(launch.FOLDER).glob("*.cu") if path.read_text() == code)
        pairs = (option[2:].split("=") for option in options if option.startswith("-D"))
        self.module = cuda_on_cpu.Module(path, {name: int(value) for name, value in pairs if name != "DIGEST"})

    def get_function(self, name: str):
        function = self.module.get_function(name)

        def call(grid, block, args, *, shared_mem=0):
            assert all(isinstance(arg, ndarray | np.generic | None) for arg in args)
            function(grid, block, tuple(_unwrapped(args)), shared_mem=shared_mem)

        call.max_dynamic_shared_size_bytes = 48 << 10
        return call


class RawKernel:
    def __init__(self, code: str, name: str):
        assert name in code

    def __call__(self, grid, block, args, *, shared_mem=0):
        assert not args, "the stand-in runs tinyvit's .cu files only"


class OutOfMemoryError(MemoryError):
    def __init__(self, size: int, total: int, limit: int = 0):
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes).")
        self._size, self._total, self._limit = size, total, limit


class Device(contextlib.AbstractContextManager):
    def __init__(self, number=None):
        self.id = number or 0
        self.mem_info = (MEMORY, MEMORY)
        self.compute_capability = "90"

    def use(self):
        pass

    def synchronize(self):
        ndarray.order.waited_for_all()

    def __exit__(self, *_):
        pass


def make() -> types.ModuleType:
    """A module to stand in ``sys.modules["cupy"]``."""
    cupy = types.ModuleType("cupy")
    cupy.ndarray, cupy.RawModule, cupy.float32, cupy.__version__ = ndarray, RawModule, np.float32, "14.2.0"
    cupy.RawKernel = RawKernel
    cupy.counts = Counts()
    ndarray.order = Event.order = Order(cupy.counts)
    Stream.null = Stream(null=True)

    def asarray(value, dtype=None, **_):
        if isinstance(value, ndarray):
            return ndarray(np.asarray(_unwrapped(value), dtype))
        cupy.counts.copies += isinstance(value, np.ndarray)  # through pinned memory of CuPy's own, so without a wait
        return ndarray(np.array(value, dtype))

    def asnumpy(value, **_):
        return value.get() if isinstance(value, ndarray) else np.asarray(value)

    def ascontiguousarray(value, dtype=None):
        return ndarray(np.ascontiguousarray(_unwrapped(value), dtype))

    cupy.asarray = cupy.array = asarray
    cupy.asnumpy, cupy.ascontiguousarray = asnumpy, ascontiguousarray
    cupy.add = _on_device(np.add)
    cupy.add.at = _add_at
    sliding_window_view = _on_device(np.lib.stride_tricks.sliding_window_view)
    cupy.lib = types.SimpleNamespace(stride_tricks=types.SimpleNamespace(sliding_window_view=sliding_window_view))
    cupy.get_default_memory_pool = lambda: types.SimpleNamespace(
        used_bytes=lambda: 0, total_bytes=lambda: 0, free_all_blocks=lambda: None
    )
    cupy.cuda = types.SimpleNamespace(
        Stream=Stream,
        Event=Event,
        Device=Device,
        get_current_stream=fake_streams.current,
        alloc_pinned_memory=ndarray.order.allocate_pinned,
        is_available=lambda: True,
        memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        runtime=types.SimpleNamespace(
            getDeviceCount=lambda: 1,
            memGetInfo=lambda: (MEMORY, MEMORY),
            getDeviceProperties=lambda number: {"name": b"a fake GPU", "totalGlobalMem": MEMORY},
            deviceSynchronize=ndarray.order.waited_for_all,
        ),
    )

    real = _real_cupy()

    def on_device(name):
        value = getattr(np, name)
        assert real is None or hasattr(real, name), f"CuPy has no {name}"
        return value if not callable(value) or isinstance(value, type) else _on_device(value)

    cupy.__getattr__ = on_device
    return cupy


def _on_device(function):
    """A function of NumPy's for the arrays of the stand-in."""

    @functools.wraps(function)
    def on_device(*args, **kwargs):
        if isinstance(function, np.ufunc):
            assert kwargs.keys() <= KEYWORDS_OF_UFUNCS, f"CuPy's {function.__name__} has none of {set(kwargs)}"
        if function.__name__ in WAIT or (function is np.where and len(args) == 1):
            ndarray.order.counts.wait()
        return _wrapped(function(*_unwrapped(args), **_unwrapped(kwargs)))

    return on_device


def _add_at(array: ndarray, index: ndarray, values) -> None:
    assert array.dtype in (np.int32, np.uint32, np.uint64, np.float32, np.float64), "CuPy adds to no other types"
    np.add.at(*_unwrapped((array, index, values)))


@functools.cache
def _real_cupy() -> types.ModuleType | None:
    """CuPy, if it is installed: it need not have a GPU."""
    try:
        return importlib.import_module("cupy")
    except Exception:
        return None


@contextlib.contextmanager
def installed():
    """Within this block ``import cupy`` gives the stand-in."""
    _real_cupy()
    shared = vars(ndarray).get("order"), vars(Stream).get("null")
    before, cupy = sys.modules.get("cupy"), make()
    caches = (launch._function, launch._module)
    sys.modules["cupy"] = cupy
    for cache in caches:
        cache.cache_clear()
    try:
        yield cupy
    finally:
        ndarray.order = Event.order = shared[0]
        Stream.null = shared[1]
        for cache in caches:
            cache.cache_clear()
        if before is None:
            del sys.modules["cupy"]
        else:
            sys.modules["cupy"] = before
