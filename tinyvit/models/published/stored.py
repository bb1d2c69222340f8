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
        load: reads it as it is stored.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    load: Callable[[], np.ndarray]

    def read(self) -> np.ndarray:
        """The array as float32: where possible not a copy but the file itself, mapped into memory.

        Raises:
            InputError: numbers that are not floating-point, or a file that is altered.
        """
        if self.dtype != BFLOAT16 and self.dtype.kind != "f":
            raise InputError(f"{self.path}: {self.name!r} is of type {self.dtype}: weights must be floating-point")
        array = self.load()
        if self.dtype == BFLOAT16:
            # bfloat16 is the first half of a float32.
            return (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        return array.astype(np.float32, copy=False)


def derived(name: str, shape: tuple[int, ...], sources: Sequence[StoredArray], function: Callable) -> StoredArray:
    """What ``function`` makes of ``sources``, of the given shape, when it is asked for."""
    return StoredArray(
        sources[0].path, name, shape, np.dtype(np.float32), lambda: function(*(source.read() for source in sources))
    )


class MappedFile:
    """A file mapped into memory, privately: writing into an array of it changes the array and never the file."""

    def __init__(self, path: Path):
        with open(path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)

    def array(self, start: int, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        """The array that lies ``start`` bytes into the file; a copy only if it is not aligned as its type needs."""
        array = np.frombuffer(self._map, np.uint8, math.prod(shape) * dtype.itemsize, start)
        if start % dtype.alignment:
            array = array.copy()
        return array.view(dtype).reshape(shape)

    def release(self) -> None:
        """Give back the memory of what was read so far; it is read again when it is needed.

        Only right as long as nobody has written into an array of this file.
        """
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
