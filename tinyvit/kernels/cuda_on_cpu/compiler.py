"""The system's C++ compiler, and the tools that come with it."""

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

# The checks are the compiler's: it tells the runtime of every access (see cpp/sanitizers.cpp).
CHECKS = (
    "-fsanitize=thread,bounds,alignment,null",
    "-fno-sanitize-recover=bounds,alignment,null",
)
# What Clang adds to bounds: it ends the process where it finds an error.
NO_TRAPS = ("-fno-sanitize=local-bounds",)
# A read must stand where the source has it: moved out of a loop or a branch, it could be one that never happens.
AS_WRITTEN = ("-fno-tree-loop-im", "-fno-tree-pre", "-fno-code-hoisting")


class NoCompiler(RuntimeError):
    """There is no C++ compiler to be found."""


def compiler() -> tuple[str, ...]:
    """The command of the C++ compiler: $CXX, or g++, clang++ or c++ on the path.

    Raises:
        NoCompiler: none of them is there.
    """
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        if name and shutil.which(name.split()[0]):
            return tuple(name.split())
    raise NoCompiler(
        "running CUDA kernels on the CPU needs a C++ compiler, and none was found: install g++ (Debian and Ubuntu: "
        "apt-get install g++) or name one in the environment variable CXX"
    )


@functools.cache
def known(command: tuple[str, ...], options: tuple[str, ...]) -> tuple[str, ...]:
    """The options if this compiler knows them all, else none."""
    nothing = [*command, *options, "-x", "c++", "-fsyntax-only", os.devnull]
    return () if subprocess.run(nothing, capture_output=True).returncode else options


def static_shared_arrays(library: Path) -> list[tuple[str, str, int, int]]:
    """Of each ``__shared__`` array of a library: the kernel it belongs to, its name, offset in the library and size.

    Raises:
        NoCompiler: there is no nm.
    """
    lines = _run_tool("nm", "--demangle", "--print-size", str(library)).splitlines()
    symbols = [re.fullmatch(r"(\w+) (?:(\w+) )?(\w) (.+)", line) for line in lines]
    symbols = [symbol.groups() for symbol in symbols if symbol]
    ends = {name: int(at, 16) for at, _, _, name in symbols if name in ("__start_cuda_shared", "__stop_cuda_shared")}
    found = []
    for at, size, _, name in symbols:
        if ends and size and ends["__start_cuda_shared"] <= int(at, 16) < ends["__stop_cuda_shared"]:
            scope, _, variable = name.rpartition("::")
            if not variable.startswith("cuda_on_cpu_gap_"):
                found.append((scope.partition("(")[0], variable, int(at, 16), int(size, 16)))
    return found


def source_lines(library: Path, offsets: Iterable[int], main_file: str) -> dict[int, str]:
    """Of each offset of code in a library its "file:line"; in a function that was inlined also that of the call."""
    offsets = sorted(set(offsets))
    if not offsets:
        return {}
    output = _run_tool("addr2line", "-a", "-i", "-e", str(library), *map(hex, offsets))
    found = {}
    for offset, frames in zip(offsets, re.split(r"^0x\w+\n", output, flags=re.MULTILINE)[1:], strict=True):
        places = [_place(frame) for frame in frames.splitlines() if ".cu" in frame] or ["an unknown line"]
        inner, outer = places[0], places[-1]
        found[offset] = inner if inner == outer or not outer.startswith(main_file) else f"{inner} (called at {outer})"
    return found


def _place(frame: str) -> str:
    path, _, line = frame.split(" ")[0].rpartition(":")  # "/a/b.cu:12 (discriminator 3)"
    return f"{Path(path).name}:{line}"


def _run_tool(name: str, *arguments: str) -> str:
    if not shutil.which(name):
        raise NoCompiler(f"running CUDA kernels on the CPU needs {name}, and there is none: install binutils")
    return subprocess.run([name, *arguments], capture_output=True, text=True, check=True).stdout
