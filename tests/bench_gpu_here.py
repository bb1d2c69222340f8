"""What the tests of the GPU's benchmark share: a stand-in for a GPU with clocks, and processes that are this one."""

import contextlib
import time
import types

import fake_streams
import pytest

from tinyvit.benchmark.on_gpu import clocks, timing


class TimedEvent(fake_streams.Event):
    def record(self, stream=None) -> None:
        super().record(stream)
        self.time = time.perf_counter()


class MemoryHook(contextlib.AbstractContextManager):
    """Sees two arrays made and one freed, whatever happens."""

    def __enter__(self):
        self.malloc_postprocess(device_id=0, size=1000, mem_size=1024, mem_ptr=1, pmem_id=1)
        self.free_postprocess(device_id=0, mem_size=1024, mem_ptr=1, pmem_id=1)
        self.malloc_postprocess(device_id=0, size=500, mem_size=512, mem_ptr=2, pmem_id=2)
        return self

    def __exit__(self, *_):
        pass


class RawKernel:
    """Kernels that compute nothing: they wait, or show that a launch works."""

    def __init__(self, code: str, name: str):
        assert f"void {name}(" in code

    def __call__(self, grid, block, args):
        assert isinstance(args, tuple)


class OwnProcess:
    """Stands for a process of its own, without the seconds that one takes to start."""

    def __init__(self, make, *arguments):
        self.made = make(*arguments)

    def call(self, method: str, *arguments):
        return getattr(self.made, method)(*arguments)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def here(function, *arguments):
    """Stands for in_own_process."""
    return function(*arguments)


def prepare(cupy: types.ModuleType, patch: pytest.MonkeyPatch) -> None:
    """Give the stand-in ``cupy`` what the benchmark asks of CuPy, and make all that it does short."""
    cupy.RawKernel = RawKernel
    cupy.cuda.Event, cupy.cuda.MemoryHook = TimedEvent, MemoryHook
    cupy.cuda.get_elapsed_time = lambda start, end: 1e3 * (end.time - start.time)
    cupy.cuda.runtime.driverGetVersion = lambda: 13010
    cupy.cuda.runtime.runtimeGetVersion = lambda: 13020
    patch.setattr(clocks, "LAUNCHES", 3)
    patch.setattr(clocks, "ROUNDS", 1)
    patch.setattr(clocks, "CALLS", 1)
    patch.setattr("tinyvit.benchmark.on_gpu.sides.QUEUED_STEPS", 1)
    patch.setattr("tinyvit.benchmark.on_gpu.compare.BREAKDOWN_STEPS", 1)
    patch.setattr(timing, "SIDE", 16)
    patch.setattr(timing, "NUMBERS", 64)
    patch.setattr(timing, "LESSON_SIDE", 16)
    for module in ("run", "agreement"):
        patch.setattr(f"tinyvit.benchmark.on_gpu.{module}.in_own_process", here)
    patch.setattr("tinyvit.benchmark.on_gpu.compare.OwnProcess", OwnProcess)


class TorchEvent:
    """Stands for torch.cuda.Event."""

    def __init__(self, enable_timing: bool):
        assert enable_timing

    def record(self) -> None:
        self.time = time.perf_counter()

    def elapsed_time(self, end: "TorchEvent") -> float:
        return 1e3 * (end.time - self.time)


def torch_on_cpu(patch: pytest.MonkeyPatch) -> None:
    """Make PyTorch's side compute on the CPU, uncompiled."""
    torch = pytest.importorskip("torch", reason="compares with PyTorch (extra `parity`)")
    patch.setattr("tinyvit.benchmark.on_gpu.torch_device.use", lambda number, precision: torch.device("cpu"))
    patch.setattr(torch, "compile", lambda model: model)
    for name, stand_in in {
        "synchronize": lambda: None,
        "_sleep": lambda cycles: None,
        "Event": TorchEvent,
        "reset_peak_memory_stats": lambda: None,
        "max_memory_allocated": lambda: 2_000_000_000,
        "memory_reserved": lambda: 3_000_000_000,
    }.items():
        patch.setattr(torch.cuda, name, stand_in)
