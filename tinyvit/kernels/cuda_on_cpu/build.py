"""Compiles a .cu file into a shared library, once for each content."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from tinyvit.files import cache_folder
from tinyvit.kernels.cuda_on_cpu.source import Source

CPP = Path(__file__).with_name("cpp")
FLAGS = ("-std=c++20", "-O2", "-g", "-fPIC", "-w")
_DYNAMIC_SHARED = re.compile(r"extern\s+__shared__\s+(?:__align__\(\d+\)\s+)?([\w ]+?)\s*(\w+)\[\];")


class NoCompiler(RuntimeError):
    """There is no C++ compiler to be found."""


def compiler() -> str:
    """The C++ compiler: $CXX, or g++, clang++ or c++ on the path.

    Raises:
        NoCompiler: none of them is there.
    """
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        if name and shutil.which(name.split()[0]):
            return name
    raise NoCompiler(
        "running CUDA kernels on the CPU needs a C++ compiler, and none was found: install g++ (Debian and Ubuntu: "
        "apt-get install g++; macOS: xcode-select --install) or name one in the environment variable CXX"
    )


def build(source: Source) -> Path:
    """The shared library of a .cu file: built now, or earlier from the same content by the same compiler.

    Libraries are named by their content, so it is always safe to delete the folder that they are kept in.

    Raises:
        NoCompiler: there is no C++ compiler.
        RuntimeError: the compiler refused the file; the message is the compiler's.
    """
    with_compiler = compiler()
    runtime = "".join(path.read_text(encoding="utf-8") for path in sorted(CPP.iterdir()))
    key = "\n".join([source.digest, with_compiler, *FLAGS, runtime])
    library = cache_folder() / "cuda_on_cpu" / f"{source.path.stem}-{hashlib.sha256(key.encode()).hexdigest()[:20]}.so"
    if not library.exists():
        _compile(source, library, with_compiler)
    return library


def _compile(source: Source, library: Path, with_compiler: str) -> None:
    folder = library.with_suffix(f".{os.getpid()}")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        unit = folder / "kernels.cpp"
        # C++ has no arrays of unknown size whose storage comes from elsewhere: on the same line, a pointer instead.
        text = _DYNAMIC_SHARED.sub(r"\1 *\2 = (\1 *)cuda_on_cpu::dynamic_shared();", source.text)
        unit.write_text(f'#line 1 "{source.path.name}"\n{text}\n{_launchers(source)}', encoding="utf-8")
        includes = (f"-I{CPP}", f"-I{source.path.parent}", "-include", str(CPP / "cuda_on_cpu.h"))
        command = with_compiler.split()
        _run([*command, *FLAGS, *includes, *source.options, "-c", unit, "-o", folder / "kernels.o"], source)
        _run([*command, *FLAGS, "-c", CPP / "blocks.cpp", "-o", folder / "blocks.o"], source)
        _run([*command, "-shared", folder / "kernels.o", folder / "blocks.o", "-o", folder / "library.so"], source)
        os.replace(folder / "library.so", library)  # whole or not there, whoever else builds the same
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list, source: Source) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{source.path.name} does not compile for the CPU:\n{done.stderr}")


def _launchers(source: Source) -> str:
    """For each kernel a C function that takes a pointer to each argument, as CUDA's own launch function does."""
    lines = ["struct Launch;", 'extern "C" int cuda_on_cpu_run(Launch *, void (*)(void **), void **);']
    for name, parameters in source.kernels.items():
        values = ", ".join(f"*({p.type} {'*' if p.pointer else ''}*)arguments[{i}]" for i, p in enumerate(parameters))
        lines.append(
            f'extern "C" int cuda_on_cpu_launch_{name}(Launch *launch, void **arguments) '
            f"{{ return cuda_on_cpu_run(launch, [](void **arguments) {{ {name}({values}); }}, arguments); }}"
        )
    return "\n".join(lines) + "\n"
