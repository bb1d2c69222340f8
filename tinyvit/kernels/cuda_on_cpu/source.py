"""A .cu file as text: what it includes, and the parameters of its kernels."""

import dataclasses
import hashlib
import re
from pathlib import Path

import numpy as np

from tinyvit.device import dtype_named

_KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\s*\(([^)]*)\)')
_INCLUDE = re.compile(r'^\s*#include\s+"([^"]+)"', re.MULTILINE)
_SHARED = re.compile(r"__shared__\s+(?:(?:__align__|alignas)\([^)]*\)\s+)?([\w ]+?)\s*\b(\w+)\s*[\[;,]")
_SHARED_LIST = re.compile(
    r"(__shared__ (?:(?:__align__|alignas)\([^)]*\) )?[\w ]*?\w) (\w+(?:\[[^\]]*\])*(?:,\s*\w+(?:\[[^\]]*\])*)+);"
)
_DYNAMIC = re.compile(r"extern\s+__shared__[^;]*?(\w+)\s*\[\s*\]")
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
        shared_arrays: name -> the type of the elements, of each ``__shared__`` variable.
        dynamic_shared: the name of the dynamic shared memory (all ``extern __shared__``) and the type of its elements.
    """

    def __init__(self, path: Path, constants: dict[str, int] | None = None, text: str | None = None):
        """Read the file, or take ``text`` for what is in it."""
        self.path, self.constants = Path(path), dict(constants or {})
        self.text = self.path.read_text(encoding="utf-8") if text is None else text
        whole = repr(sorted(self.constants.items())) + "".join(_with_includes(self.path, self.text, {}).values())
        self.digest = hashlib.sha256(whole.encode()).hexdigest()
        self.kernels = {
            name: _parameters(self.path, name, text, self.constants)
            for name, text in _KERNEL.findall(_COMMENT.sub(" ", self.text))
        }
        self.shared_arrays = {
            name: dtype_named(_TYPES.get(_without_vectors(type_name, self.constants), "uint8"))
            for type_name, name in _SHARED.findall(_COMMENT.sub(" ", one_shared_each(self.text)))
        }
        dynamic = {name: self.shared_arrays[name] for name in _DYNAMIC.findall(self.text)}
        self.dynamic_shared = next(iter(dynamic.items()), ("shared memory", np.dtype(np.uint8)))

    @property
    def options(self) -> tuple[str, ...]:
        """The constants as compiler options."""
        return tuple(f"-D{name}={value}" for name, value in sorted(self.constants.items()))


def one_shared_each(text: str) -> str:
    """The text with a declaration for each ``__shared__`` variable, where one declares several; lines stay lines."""
    return _SHARED_LIST.sub(lambda found: "".join(f"{found[1]} {name};" for name in found[2].split(",")), text)


def _with_includes(path: Path, text: str, found: dict[Path, str]) -> dict[Path, str]:
    found[path] = text
    for name in _INCLUDE.findall(text):
        included = path.parent / name
        if included not in found and included.exists():
            _with_includes(included, included.read_text(encoding="utf-8"), found)
    return found


def _parameters(path: Path, kernel: str, text: str, constants: dict[str, int]) -> tuple[Parameter, ...]:
    return tuple(_parameter(path, kernel, part, constants) for part in text.split(",") if part.strip())


def _parameter(path: Path, kernel: str, text: str, constants: dict[str, int]) -> Parameter:
    pointer = "*" in text
    words = text.replace("*", " ").replace("__restrict__", " ").split()
    name, words = words[-1], words[:-1]
    type_name = " ".join(word for word in words if word != "const")
    type_name = _of_activations(type_name, constants)
    if type_name not in _TYPES:
        raise ValueError(
            f"{path.name}: parameter {name!r} of {kernel} is a {type_name!r}: known are {', '.join(_TYPES)}"
        )
    return Parameter(name, type_name, dtype_named(_TYPES[type_name]), pointer, "const" in words)


def _of_activations(type_name: str, constants: dict[str, int]) -> str:
    if type_name == "T":
        return "__nv_bfloat16" if constants.get("BFLOAT16") else "float"
    return type_name


def _without_vectors(type_name: str, constants: dict[str, int]) -> str:
    """The type of the numbers in a shared variable: float for a float4."""
    vector = re.fullmatch(r"(float|int|uint)[234]", type_name)
    return {"uint": "unsigned"}.get(vector[1], vector[1]) if vector else _of_activations(type_name, constants)
