"""Which GPU it is, and the libraries that compute on it."""

import dataclasses
import re
from pathlib import Path

VERSION = Path("/proc/driver/nvidia/version")


@dataclasses.dataclass(frozen=True)
class Card:
    """The header of a measurement on a GPU.

    Attributes:
        name: as the driver gives it.
        capability: compute capability, such as "9.0".
        memory: bytes.
        driver: its version, "" where the system does not say.
        driver_cuda: the newest CUDA that the driver knows.
        cuda: of CuPy's libraries.
        cupy: its version.
    """

    name: str
    capability: str
    memory: int
    driver: str
    driver_cuda: str
    cuda: str
    cupy: str

    @classmethod
    def of(cls, xp, name: str) -> "Card":
        """The GPU that ``xp``, CuPy, computes on now."""
        device, runtime = xp.cuda.Device(), xp.cuda.runtime
        capability = device.compute_capability
        return cls(
            name,
            f"{capability[:-1]}.{capability[-1]}",
            device.mem_info[1],
            driver_version(),
            readable(runtime.driverGetVersion()),
            readable(runtime.runtimeGetVersion()),
            xp.__version__,
        )


def driver_version(path: Path = VERSION) -> str:
    """The driver's version, such as "580.65.06"; "" where the system does not say."""
    if not path.exists():
        return ""
    found = re.search(r"NVRM version:.*?\s(\d+\.\d[\d.]*)\s", path.read_text())
    return found.group(1) if found else ""


def readable(version: int) -> str:
    """CUDA's number for a version, such as 13020, as "13.2"."""
    return f"{version // 1000}.{version % 1000 // 10}"
