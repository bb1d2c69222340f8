"""What every command shares: one-line errors with exit status 2, and fast memory."""

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn

from tinyvit.errors import InputError
from tinyvit.runtime import keep_freed_memory

INTERRUPTED = 130  # the shell's exit status for Ctrl-C


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line, and a column for the options that is wide enough for most of them."""

    def __init__(self, *args, **kwargs):
        def formatter(prog: str) -> argparse.HelpFormatter:
            return argparse.HelpFormatter(prog, max_help_position=30)

        super().__init__(*args, formatter_class=formatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} ({self.prog} --help lists the options)\n")


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run a command's main function and exit with its status; 2 and one line for an InputError."""
    keep_freed_memory()
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)  # so that each line is seen at once through a pipe, too
    # An overflow shows in the loss, and the command that meets it says so better than a line from inside a kernel.
    warnings.filterwarnings("ignore", "(overflow|invalid value|divide by zero) encountered", RuntimeWarning)
    try:
        sys.exit(main() or 0)
    except InputError as error:
        _fail(str(error), 2)
    except MemoryError as error:
        _fail(f"not enough memory: {error}; try a smaller model, image or batch", 2)
    except KeyboardInterrupt:
        _fail("stopped by hand", INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _fail(message: str, status: int) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device, which for now can only say cpu."""
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu or gpu (default auto)")


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
