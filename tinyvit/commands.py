"""What every command shares: one-line errors with exit status 2, and fast memory."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from tinyvit.errors import InputError
from tinyvit.runtime import keep_freed_memory


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} ({self.prog} --help lists the options)\n")


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run a command's main function and exit with its status; 2 and one line for an InputError."""
    keep_freed_memory()
    try:
        sys.exit(main() or 0)
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device, which for now can only say cpu."""
    parser.add_argument("--device", default="auto", help="auto, cpu or gpu (default auto)")


def check_device(name: str) -> None:
    """Refuse a device that there is no kernel for.

    Raises:
        InputError: an unknown device, or the GPU.
    """
    from tinyvit.errors import unknown
    from tinyvit.kernels import BACKENDS

    if name not in ("auto", "cpu", "gpu"):
        raise unknown("device", name, ("auto", "cpu", "gpu"))
    if name == "gpu" and "gpu" not in BACKENDS:
        raise InputError("device 'gpu': this version has kernels for the CPU only; leave --device out or say cpu")
