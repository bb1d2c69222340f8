"""What the machine is: processor, cores, and the libraries that compute."""

import dataclasses
import importlib.metadata
import importlib.util
import os
import platform
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

from tinyvit.training.workers import available_cores


@dataclasses.dataclass(frozen=True)
class Machine:
    """The header of a measurement. ``torch`` is PyTorch's version, "" where it is missing."""

    processor: str
    cores: int
    python: str
    numpy: str
    blas: str
    torch: str

    @classmethod
    def here(cls) -> "Machine":
        return cls(processor(), available_cores(), platform.python_version(), np.__version__, blas(), torch_version())


def processor() -> str:
    """The processor's name as it gives it itself."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine() or "unknown processor"


def blas() -> str:
    """NumPy's matrix product library and the processor family that its kernels are written for."""
    for library in threadpool_info():
        if library["user_api"] == "blas":
            family = f", {library['architecture']} kernels" if library.get("architecture") else ""
            name = {"openblas": "OpenBLAS", "mkl": "MKL", "blis": "BLIS"}.get(library["internal_api"], "BLAS")
            return f"{name} {library['version']}{family}"
    return "a BLAS that threadpoolctl does not know"


def torch_version() -> str:
    """PyTorch's version without importing it, "" where it is not installed."""
    if importlib.util.find_spec("torch") is None:
        return ""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"


def busy_seconds() -> float:
    """How long our cores have computed since the machine started, for any program, summed over the cores; 0 where the
    system doesn't say. The cores are those that this process may use."""
    stat = Path("/proc/stat")
    if not stat.exists() or not hasattr(os, "sched_getaffinity"):
        return 0.0
    ours = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    ticks = 0
    for line in stat.read_text().splitlines():
        name, *counts = line.split()
        if name in ours:
            user, nice, system, _idle, _waiting, interrupts, soft_interrupts = map(int, counts[:7])
            ticks += user + nice + system + interrupts + soft_interrupts
    return ticks / os.sysconf("SC_CLK_TCK")
