"""Safetensors files, mapped into memory. The header is checked in full before anything is believed of it.

The safetensors library reads arrays as copies and says little of what is wrong, so this is done here.
"""

import functools
import json
import math
from pathlib import Path

import numpy as np

from tinyvit.errors import InputError
from tinyvit.models.published.stored import BFLOAT16, MappedFile, StoredArray

# The format's own limit.
MAX_HEADER_BYTES = 100_000_000
DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": BFLOAT16,
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def open_safetensors(path: Path) -> tuple[dict[str, StoredArray], dict[str, str]]:
    """The arrays of a safetensors file by name, and its metadata.

    Raises:
        InputError: a file that cannot be read or is cut short, or a header that does not fit the file.
    """
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            start = file.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or length > min(size - 8, MAX_HEADER_BYTES):
                raise InputError(
                    f"{path} is cut short or no safetensors file: its first 8 bytes say that a header of {length} "
                    f"bytes follows, and the file has {size} bytes; copy it again"
                )
            header = _parse(path, file.read(length))
        mapped = MappedFile(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give a file of weights") from error
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise InputError(f"{path} is no safetensors file: its metadata are not text; copy it again")
    places = {name: _place(path, name, entry, size - 8 - length) for name, entry in header.items()}
    _check_order(path, places, size - 8 - length)
    arrays = {
        name: StoredArray(path, name, shape, dtype, functools.partial(mapped.array, 8 + length + begin, dtype, shape))
        for name, (dtype, shape, begin, _) in places.items()
    }
    return arrays, metadata


def _parse(path: Path, text: bytes) -> dict:
    def once(pairs: list) -> dict:
        names = dict(pairs)
        if len(names) < len(pairs):
            twice = next(name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1)
            raise InputError(f"{path}: {twice!r} stands twice in the header; copy the file again")
        return names

    try:
        header = json.loads(text, object_pairs_hook=once)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no safetensors file: its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise InputError(f"{path} is no safetensors file: its header holds no names")
    return header


def _place(path: Path, name: str, entry, size: int) -> tuple[np.dtype, tuple[int, ...], int, int]:
    """Type, shape, begin and end of an array among the ``size`` bytes after the header."""
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        if type(dtype) is not str or not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: the header's entry for {name!r} makes no sense; copy the file again") from error
    if dtype not in DTYPES:
        raise InputError(f"{path}: {name!r} is of type {dtype!r}: known are {', '.join(DTYPES)}")
    if not begin <= end <= size:
        raise InputError(
            f"{path}: {name!r} should lie at bytes {begin} to {end} of {size}: "
            f"the file is cut short or its header is wrong; copy it again"
        )
    if math.prod(shape) * DTYPES[dtype].itemsize != end - begin:
        raise InputError(
            f"{path}: {name!r} has {end - begin} bytes, and its shape {list(shape)} in {dtype} needs "
            f"{math.prod(shape) * DTYPES[dtype].itemsize}: the header is wrong; copy the file again"
        )
    return DTYPES[dtype], shape, begin, end


def _check_order(path: Path, places: dict, size: int) -> None:
    """Refuse arrays that overlap or leave a gap."""
    reached = 0
    for name, (_, _, begin, end) in sorted(places.items(), key=lambda item: item[1][2:]):
        if begin != reached:
            raise InputError(
                f"{path}: {name!r} begins at byte {begin} where {reached} is due: arrays overlap or leave a gap, "
                f"the header is wrong; copy the file again"
            )
        reached = end
    if reached != size:
        raise InputError(f"{path}: {size - reached} bytes after the last array belong to none; copy the file again")
