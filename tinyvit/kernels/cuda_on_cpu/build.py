"""Compiles a .cu file into a shared library, once for each content."""

import dataclasses
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from tinyvit.files import cache_folder
from tinyvit.kernels.cuda_on_cpu.compiler import AS_WRITTEN, CHECKS, NO_TRAPS, compiler, known
from tinyvit.kernels.cuda_on_cpu.source import Source, one_shared_each

CPP = Path(__file__).with_name("cpp")
# Hidden: two libraries in one process must not take each other's names for their own. Some distributions' compilers by
# themselves refuse jumps between stacks (_FORTIFY_SOURCE).
FLAGS = (
    *("-std=c++20", "-O2", "-g1", "-fPIC", "-w", "-fvisibility=hidden", "-U_FORTIFY_SOURCE"),
    *("-fno-exceptions", "-fno-threadsafe-statics", "-fno-strict-aliasing"),
)
_DYNAMIC_SHARED = re.compile(r"extern\s+__shared__\s+(?:__align__\(\d+\)\s+|alignas\(\d+\)\s+)?([\w ]+?)\s*(\w+)\[\];")
_C_LINKAGE = re.compile(r'extern\s+"C"(?=\s+__global__)')


@dataclasses.dataclass(frozen=True)
class Library:
    """A compiled .cu file.

    Attributes:
        path: the shared library.
        checked: whether the compiler could make it one that reports each access; without, only what faults is caught.
    """

    path: Path
    checked: bool


def build(source: Source) -> Library:
    """The shared library of a .cu file: built now, or earlier from the same content by the same compiler.

    Libraries are named by their content, so it is always safe to delete the folder that they are kept in.

    Raises:
        NoCompiler: there is no C++ compiler.
        RuntimeError: the compiler refused the file; the message is the compiler's.
    """
    command = compiler()
    checks = known(command, CHECKS)
    options = (*checks, *known(command, NO_TRAPS), *known(command, AS_WRITTEN))
    parts = (source.digest, _runtime_digest(command), *options)
    path = _cached(f"{source.path.stem}-{_digest(parts)}.so", lambda to: _make_library(source, to, command, options))
    return Library(path, checked=bool(checks))


def _cached(name: str, make: Callable[[Path], None]) -> Path:
    """The file of that name in the cache, sealed with a hash; ``make(path)`` makes it where there is no whole one."""
    path = cache_folder() / "cuda_on_cpu" / name
    if not _is_whole(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # whoever else makes the same has another
            made = Path(folder) / name
            make(made)
            with open(made, "ab+") as file:
                file.seek(0)
                file.write(hashlib.sha256(file.read()).digest())  # neither the linker nor the loader minds
            os.replace(made, path)
    return path


def _is_whole(path: Path) -> bool:
    """Whether a file is there and ends with the hash of the rest: a disk may have been full, a machine switched off."""
    content = path.read_bytes() if path.exists() else b""
    return len(content) > 32 and hashlib.sha256(content[:-32]).digest() == content[-32:]


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]


def _runtime_digest(command: tuple[str, ...]) -> str:
    return _digest([*command, *FLAGS, *(path.read_text(encoding="utf-8") for path in sorted(CPP.iterdir()))])


def _make_runtime(to: Path, command: tuple[str, ...]) -> None:
    """One object file of all of cpp/: it is the same for all kernels."""
    objects = []
    for path in sorted(CPP.glob("*.cpp")):
        objects.append(to.with_name(f"{path.stem}.o"))
        _run([*command, *FLAGS, "-c", path, "-o", objects[-1]], "the runtime of cuda_on_cpu")
    _run([*command, "-r", "-nostdlib", *objects, "-o", to], "the runtime of cuda_on_cpu")


def _make_library(source: Source, to: Path, command: tuple[str, ...], options: tuple[str, ...]) -> None:
    runtime = _cached(f"runtime-{_runtime_digest(command)}.o", lambda path: _make_runtime(path, command))
    # Named as its source, whatever reads the debugging information finds that name in it.
    unit, kernels = to.with_name(source.path.name), to.with_name("kernels.o")
    parts = (f'#line 1 "{source.path.name}"', _as_cpp(source.text), '#line 1 "launchers"', _launchers(source))
    unit.write_text("\n".join(parts), encoding="utf-8")
    # Names of files without their folders, in messages and in what addr2line says.
    folder = source.path.parent
    files = (f"-I{CPP}", f"-I{folder}", "-include", CPP / "cuda_on_cpu.h", f"-ffile-prefix-map={folder}/=")
    options = (*FLAGS, *options, *files, *source.options)
    _run([*command, *options, "-x", "c++", "-c", unit, "-o", kernels], source.path.name)
    _run([*command, "-shared", kernels, runtime, "-o", to], source.path.name)


def _run(command: list, what: str) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{what} does not compile for the CPU:\n{done.stderr}")


def _as_cpp(text: str) -> str:
    """The text of a .cu file, line by line, as C++ has it."""
    text = one_shared_each(text)  # with a gap before each
    # There are no arrays of unknown size whose storage comes from elsewhere: a pointer instead.
    text = _DYNAMIC_SHARED.sub(r"\1 *\2 = (\1 *)cuda_on_cpu::dynamic_shared();", text)
    # With C++'s own linkage the names of a kernel's shared arrays in the library tell whose they are.
    return _C_LINKAGE.sub(lambda found: " " * len(found[0]), text)


_LAUNCHER = """
__attribute__((no_sanitize("thread", "alignment")))
static void cuda_on_cpu_start_{name}(void **arguments) {{ {name}({values}); }}
extern "C" __attribute__((visibility("default")))
int cuda_on_cpu_launch_{name}(cuda_on_cpu::Launch *launch, void **arguments) {{
    return cuda_on_cpu_run(launch, cuda_on_cpu_start_{name}, arguments);
}}"""


def _launchers(source: Source) -> str:
    """For each kernel a C function that takes a pointer to each argument, as CUDA's own launch function does."""
    text = "namespace cuda_on_cpu { struct Launch; }\n"
    text += 'extern "C" int cuda_on_cpu_run(cuda_on_cpu::Launch *, void (*)(void **), void **);\n'
    for name, parameters in source.kernels.items():
        values = ", ".join(f"*({p.type} {'*' if p.pointer else ''}*)arguments[{i}]" for i, p in enumerate(parameters))
        text += _LAUNCHER.format(name=name, values=values) + "\n"
    return text
