"""What every command shares: one-line errors with exit status 2, and fast memory."""

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn

from tinyvit.device import CPU, Device
from tinyvit.errors import InputError, unknown
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
    except (MemoryError, RuntimeError) as error:
        from tinyvit import gpu

        if (reason := gpu.memory_error(error)) is not None:
            _fail(f"{reason}; lower --batch-size, raise --accumulate, or train with --precision bfloat16", 2)
        if not isinstance(error, MemoryError):
            raise
        advice = "lower --batch-size, raise --accumulate, or take a smaller model or image"
        _fail(f"not enough memory: {str(error).rstrip('.')}; {advice}", 2)
    except KeyboardInterrupt:
        _fail("stopped by hand", INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _fail(message: str, status: int) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device."""
    parser.add_argument(
        "--device", default="auto", metavar="NAME", help="auto, cpu, gpu or gpu:N (default auto: a GPU if there is one)"
    )


def pick_device(name: str, precision: str = "float32") -> Device:
    """The device that --device and --precision ask for.

    Where "auto" finds a GPU but cannot use it, a line on standard error says why.

    Raises:
        InputError: an unknown device or precision, no usable GPU where one was asked for, or a precision that the
            device does not have.
    """
    from tinyvit import gpu

    kind, number = gpu.parse(name)
    if precision not in gpu.PRECISIONS:
        raise unknown("precision", precision, gpu.PRECISIONS)
    if kind != "cpu":
        try:
            return gpu.use(gpu.choose(gpu.find_gpus(), number), precision)
        except gpu.NoGPU as error:
            if kind == "gpu":
                raise InputError(f"device {name!r}: {error}") from error
            if isinstance(error, gpu.BrokenGPU):
                print(f"computing on the CPU: {error}", file=sys.stderr)
    if precision != "float32":
        raise InputError(f"precision {precision!r} is for GPUs, the CPU computes in float32: leave --precision out")
    return CPU
