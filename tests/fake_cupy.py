"""A stand-in for CuPy on a machine without a GPU: arrays in ordinary memory that keep CuPy's rules.

Its arrays refuse to mix with NumPy's, as CuPy's do; reductions and single elements stay arrays; each look at a value
from Python (``float``, ``get``, ``if``) is counted as a synchronisation; RawModule runs kernels through cuda_on_cpu.
So the code that is written for CuPy runs in tests, all but the GPU itself.
"""

import contextlib
import functools
import sys
import types
from pathlib import Path

import numpy as np

from tinyvit.kernels import cuda_on_cpu
from tinyvit.kernels.gpu import launch

MEMORY = 16 << 30


class Counts:
    """How often Python waited for the device, and copied to it."""

    def __init__(self):
        self.synchronisations = self.copies = 0


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array "on the device"."""

    counts = Counts()
    __hash__ = None

    def __init__(self, host: np.ndarray):
        self.host = host

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct one.")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        return _wrapped(getattr(ufunc, method)(*_unwrapped(inputs), **_unwrapped(kwargs)))

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
            return _wrapped(value(*_unwrapped(args), **_unwrapped(kwargs)))

        return method

    def __getitem__(self, index):
        return _wrapped(self.host[_unwrapped(index)])

    def __setitem__(self, index, value):
        self.host[_unwrapped(index)] = _unwrapped(value)

    def __len__(self):
        return len(self.host)

    def __repr__(self):
        return f"fake_cupy.{self.host!r}"

    # What makes Python wait for the device.

    def get(self, **_) -> np.ndarray:
        self.counts.synchronisations += 1
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
        self.counts.copies += 1
        self.host[...] = array


def _unwrapped(value):
    if isinstance(value, ndarray):
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
            args = [np.empty(0, np.float32) if arg is None else arg for arg in args]
            function(grid, block, tuple(_unwrapped(args)), shared_mem=shared_mem)

        call.max_dynamic_shared_size_bytes = 48 << 10
        return call


class Event:
    def record(self, stream=None):
        pass

    def synchronize(self):
        ndarray.counts.synchronisations += 1


class Stream(contextlib.AbstractContextManager):
    null: "Stream"

    def __init__(self, null=False, non_blocking=False):
        self.ptr = 0

    def __exit__(self, *_):
        pass

    def record(self, event=None):
        return event or Event()

    def wait_event(self, event):
        assert isinstance(event, Event)

    def synchronize(self):
        ndarray.counts.synchronisations += 1


class OutOfMemoryError(MemoryError):
    pass


class Device(contextlib.AbstractContextManager):
    def __init__(self, number=0):
        self.id = number
        self.mem_info = (MEMORY, MEMORY)
        self.compute_capability = "90"

    def use(self):
        pass

    def synchronize(self):
        ndarray.counts.synchronisations += 1

    def __exit__(self, *_):
        pass


def make() -> types.ModuleType:
    """A module to stand in ``sys.modules["cupy"]``."""
    cupy = types.ModuleType("cupy")
    cupy.ndarray, cupy.RawModule, cupy.float32, cupy.__version__ = ndarray, RawModule, np.float32, "14.2.0"
    ndarray.counts = cupy.counts = Counts()

    def asarray(value, dtype=None, **_):
        if isinstance(value, ndarray):
            return ndarray(np.asarray(value.host, dtype))
        cupy.counts.copies += isinstance(value, np.ndarray)
        return ndarray(np.array(value, dtype))

    def asnumpy(value, **_):
        return value.get() if isinstance(value, ndarray) else np.asarray(value)

    def ascontiguousarray(value, dtype=None):
        return ndarray(np.ascontiguousarray(value.host, dtype))

    cupy.asarray = cupy.array = asarray
    cupy.asnumpy, cupy.ascontiguousarray = asnumpy, ascontiguousarray
    cupy.get_default_memory_pool = lambda: types.SimpleNamespace(
        used_bytes=lambda: 0, total_bytes=lambda: 0, free_all_blocks=lambda: None
    )
    null = Stream.null = Stream()
    cupy.cuda = types.SimpleNamespace(
        Stream=Stream,
        Event=Event,
        Device=Device,
        get_current_stream=lambda: null,
        is_available=lambda: True,
        memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        runtime=types.SimpleNamespace(
            getDeviceCount=lambda: 1,
            memGetInfo=lambda: (MEMORY, MEMORY),
            getDeviceProperties=lambda number: {"name": b"a fake GPU", "totalGlobalMem": MEMORY},
            deviceSynchronize=lambda: None,
        ),
    )

    def on_device(name):
        value = getattr(np, name)
        if not callable(value) or isinstance(value, type):
            return value

        @functools.wraps(value)
        def function(*args, **kwargs):
            return _wrapped(value(*_unwrapped(args), **_unwrapped(kwargs)))

        return function

    cupy.__getattr__ = on_device
    return cupy


@contextlib.contextmanager
def installed():
    """Within this block ``import cupy`` gives the stand-in."""
    before, cupy = sys.modules.get("cupy"), make()
    caches = (launch._function, launch._module)
    sys.modules["cupy"] = cupy
    for cache in caches:
        cache.cache_clear()
    try:
        yield cupy
    finally:
        for cache in caches:
            cache.cache_clear()
        if before is None:
            del sys.modules["cupy"]
        else:
            sys.modules["cupy"] = before
