"""The IDX format of the MNIST family: a magic number, the sizes of each axis, then the bytes."""

import math
import struct
from pathlib import Path

import numpy as np

from tinyvit.errors import InputError

_UINT8 = 0x08  # the format's code for unsigned bytes, the only type used here


def parse_idx(content: bytes, source: str | Path, axes: int) -> np.ndarray:
    """The uint8 array of ``axes`` axes in an IDX file's bytes. ``source`` names the file in errors.

    The header is big-endian: two zero bytes, a type code, the number of axes, a 32-bit size for each axis.
    Raises InputError when the header is another one or the file's length does not match it.
    """
    header = 4 + 4 * axes
    if len(content) < header or content[:4] != bytes([0, 0, _UINT8, axes]):
        begins = content[:4].hex(" ") or "nothing"
        raise InputError(
            f"{source} is not an IDX file of unsigned bytes with {axes} axes (it begins with {begins}): "
            "get the file again"
        )
    shape = struct.unpack(f">{axes}I", content[4:header])
    if len(content) != header + math.prod(shape):
        raise InputError(
            f"{source} is cut short or altered: {len(content):,} bytes, but its header promises "
            f"{header + math.prod(shape):,}: get the file again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
