"""A .cu file as text: what it includes, and the parameters of its kernels."""

import dataclasses
import hashlib
import re
from pathlib import Path

import numpy as np

from tinyvit.device import dtype_named

_KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\s*\(([^)]*)\)')
_INCLUDE = re.compile(r'^\s*#include\s+"([^"]+)"', re.MULTILINE)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)

_TYPES = {
    "float": "float32",
    "double": "float64",
    "__nv_bfloat16": "bfloat16",
    "unsigned char": "uint8",
    "bool": "bool",
    "int": "int32",
    "unsigned": "uint32",
    "unsigned int": "uint32",
    "long long": "int64",
    "unsigned long long": "uint64",
}
"""C++ type -> the NumPy type of the same bits."""


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel.

    Attributes:
        name: as in the source.
        type: as in the source, without const and pointer.
        dtype: the NumPy type that it takes: of the array's elements for a pointer.
        pointer: whether an array is wanted.
        constant: whether the kernel only reads the array.
    """

    name: str
    type: str
    dtype: np.dtype
    pointer: bool
    constant: bool


class Source:
    """A .cu file, compiled with some constants.

    ``T`` is the type of activations: float, or bfloat16 where the constant BFLOAT16 is set.

    Attributes:
        path: the file.
        constants: preprocessor constants, such as {"HEAD_WIDTH": 64}.
        text: what is in the file.
        digest: a hash of the text, of all that it includes from its folder, and of the constants.
        kernels: name -> parameters, of each ``extern "C" __global__`` function.
    """

    def __init__(self, path: Path, constants: dict[str, int] | None = None):
        self.path, self.constants = Path(path), dict(constants or {})
        self.text = self.path.read_text(encoding="utf-8")
        whole = repr(sorted(self.constants.items())) + "".join(_with_includes(self.path, {}).values())
        self.digest = hashlib.sha256(whole.encode()).hexdigest()
        self.kernels = {
            name: _parameters(self.path, name, text, self.constants)
            for name, text in _KERNEL.findall(_COMMENT.sub(" ", self.text))
        }

    @property
    def options(self) -> tuple[str, ...]:
        """The constants as compiler options."""
        return tuple(f"-D{name}={value}" for name, value in sorted(self.constants.items()))


def _with_includes(path: Path, found: dict[Path, str]) -> dict[Path, str]:
    if path not in found and path.exists():
        found[path] = path.read_text(encoding="utf-8")
        for name in _INCLUDE.findall(found[path]):
            _with_includes(path.parent / name, found)
    return found


def _parameters(path: Path, kernel: str, text: str, constants: dict[str, int]) -> tuple[Parameter, ...]:
    return tuple(_parameter(path, kernel, part, constants) for part in text.split(",") if part.strip())


def _parameter(path: Path, kernel: str, text: str, constants: dict[str, int]) -> Parameter:
    pointer = "*" in text
    words = text.replace("*", " ").replace("__restrict__", " ").split()
    name, words = words[-1], words[:-1]
    type_name = " ".join(word for word in words if word != "const")
    if type_name == "T":
        type_name = "__nv_bfloat16" if constants.get("BFLOAT16") else "float"
    if type_name not in _TYPES:
        raise ValueError(
            f"{path.name}: parameter {name!r} of {kernel} is a {type_name!r}: known are {', '.join(_TYPES)}"
        )
    return Parameter(name, type_name, dtype_named(_TYPES[type_name]), pointer, "const" in words)
