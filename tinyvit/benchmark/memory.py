"""How much memory this process has, and had at most."""

import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def resident_bytes() -> int:
    """Memory in use now. Where there is no /proc (macOS), the most there has been so far."""
    return _status("VmRSS") if STATUS.exists() else _largest_so_far()


def peak_bytes() -> int:
    """The most memory that this process has had at once.

    Not getrusage's figure on Linux: that one starts with the size of the process that started this one.
    """
    return _status("VmHWM") if STATUS.exists() else _largest_so_far()


def _status(field: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def _largest_so_far() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
