"""An array that lies in a file: its header is known, its numbers are read when they are asked for."""

import dataclasses
import math
import mmap
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tinyvit.errors import InputError

# NumPy has no bfloat16; .npz files hold it as two nameless bytes, and here it is always called that.
BFLOAT16 = np.dtype("V2")


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """An array in a file.

    Attributes:
        path, name: where it lies; for errors.
        shape, dtype: what the file's header says.
        load: reads it as it is stored; if it is told True, into memory of its own, otherwise it may be the file itself,
            mapped.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    load: Callable[[bool], np.ndarray]

    def read(self, own: bool = False) -> np.ndarray:
        """The array as float32: where possible the file itself, mapped into memory.

        Args:
            own: read it into memory of its own: what is copied anyway is read faster than by way of a mapping.

        Raises:
            InputError: numbers that are not floating-point, or a file that is altered.
        """
        if self.dtype != BFLOAT16 and self.dtype.kind != "f":
            raise InputError(f"{self.path}: {self.name!r} is of type {self.dtype}: weights must be floating-point")
        array = self.load(own or self.dtype != np.float32)
        if self.dtype == BFLOAT16:
            # bfloat16 is the first half of a float32.
            return (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        return array.astype(np.float32, copy=False)


def derived(name: str, shape: tuple[int, ...], sources: Sequence[StoredArray], function: Callable) -> StoredArray:
    """What ``function`` makes of ``sources``, of the given shape, when it is asked for."""
    return StoredArray(
        sources[0].path,
        name,
        shape,
        np.dtype(np.float32),
        lambda own: function(*(source.read(own) for source in sources)),
    )


class MappedFile:
    """A file mapped into memory, privately: writing into an array of it changes the array and never the file."""

    def __init__(self, path: Path):
        self._file = open(path, "rb")
        self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)

    def __del__(self):
        if hasattr(self, "_file"):
            self._file.close()

    def array(self, start: int, dtype: np.dtype, shape: tuple[int, ...], own: bool) -> np.ndarray:
        """The array that lies ``start`` bytes into the file: the mapped file itself, unless ``own`` asks for a copy or
        it is not aligned as its type needs."""
        if not own and start % dtype.alignment == 0:
            return (
                np.frombuffer(self._map, np.uint8, math.prod(shape) * dtype.itemsize, start).view(dtype).reshape(shape)
            )
        content = np.empty(math.prod(shape) * dtype.itemsize, np.uint8)
        self._file.seek(start)
        self._file.readinto(content)
        return content.view(dtype).reshape(shape)
