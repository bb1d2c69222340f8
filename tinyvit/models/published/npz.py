"""NumPy's .npz files, without pickle. All headers are checked before a single array is allocated.

A .npz file is a zip archive of .npy files. Members that are stored as they are, as numpy.savez does it, are mapped into
memory; compressed ones are read when they are asked for.
"""

import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

from tinyvit.errors import InputError
from tinyvit.models.published.pickled import pickled
from tinyvit.models.published.stored import BFLOAT16, MappedFile, StoredArray

# What all arrays together may take, as a multiple of the file's size and in bytes besides. Weights hardly shrink:
# float32 numbers of bfloat16 precision to a third, zeros (a fresh head) to a thousandth.
MAX_EXPANSION = 20
FREE_BYTES = 16_000_000
# NumPy's own limit is as low: a longer header is no array's.
MAX_HEADER_BYTES = 10_000
LOCAL_HEADER_BYTES = 30


def open_npz(path: Path) -> dict[str, StoredArray]:
    """The arrays of a .npz file by name.

    Raises:
        InputError: a file that cannot be read, is cut short, is a bomb, or holds what is no array of numbers.
    """
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give a file of weights") from error
    except (zipfile.BadZipFile, ValueError, NotImplementedError, IndexError) as error:
        raise InputError(f"{path} is cut short or no .npz file ({error}); copy it again") from error
    members = archive.infolist()
    if any(member.filename.endswith("data.pkl") for member in members):
        raise pickled(path)
    _check_directory(path, archive, members)
    mapped = MappedFile(path)
    arrays = {}
    for member in members:
        name = member.filename.removesuffix(".npy")
        try:
            arrays[name] = _open_member(path, archive, member, name, mapped)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path}: {name!r} is no whole array ({error}); copy the file again") from error
    return arrays


def _check_directory(path: Path, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> None:
    """Refuse a directory that does not fit the file, before anything else is believed of it."""
    size = path.stat().st_size
    seen = set()
    end = archive.start_dir
    for member in sorted(members, key=lambda member: -member.header_offset):
        name = member.filename.removesuffix(".npy")
        if not member.filename.endswith(".npy"):
            raise InputError(f"{path}: {name!r} is no array: a .npz file holds .npy files only")
        if name in seen:
            raise InputError(f"{path}: {name!r} is in it twice; copy the file again")
        seen.add(name)
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{path}: {name!r} is encrypted or compressed in a way that NumPy does not read")
        if member.header_offset + LOCAL_HEADER_BYTES + member.compress_size > end:
            raise InputError(
                f"{path}: {name!r} with {member.compress_size} bytes from {member.header_offset} on does not fit into "
                f"the {end} bytes before the next: the file is cut short or its directory wrong; copy it again"
            )
        if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
            raise InputError(f"{path}: {name!r} has two sizes in the directory; copy the file again")
        end = member.header_offset
    total = sum(member.file_size for member in members)
    if total > MAX_EXPANSION * size + FREE_BYTES:
        largest = max(members, key=lambda member: member.file_size)
        raise InputError(
            f"{path} is a zip bomb: {size} bytes would become {total}, {largest.file_size} of them for "
            f"{largest.filename.removesuffix('.npy')!r}; weights are not that compressible"
        )


def _open_member(
    path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, mapped: MappedFile
) -> StoredArray:
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise ValueError(f"version {version} of the .npy format")
        shape, columns_first, dtype = readers[version](file, max_header_size=MAX_HEADER_BYTES)
        header = file.tell()
    if dtype.hasobject:
        raise InputError(
            f"{path}: {name!r} holds Python objects, a pickle, which can run any code and is not read: "
            f"save arrays of numbers only"
        )
    if dtype.kind not in "fiub" and dtype != BFLOAT16:
        raise InputError(f"{path}: {name!r} is of type {dtype}: weights are numbers")
    if any(length < 0 for length in shape) or header + math.prod(shape) * dtype.itemsize != member.file_size:
        raise InputError(
            f"{path}: {name!r} has {member.file_size - header} bytes, and its shape {shape} in {dtype} needs "
            f"{math.prod(shape) * dtype.itemsize}: its header is wrong; copy the file again"
        )
    order = shape[::-1] if columns_first else shape
    start = _data_start(path, member) + header

    def load(own: bool) -> np.ndarray:
        if member.compress_type == zipfile.ZIP_STORED:
            array = mapped.array(start, dtype, order, own)
        else:
            array = _inflate(path, archive, member, header).view(dtype).reshape(order)
        return array.T if columns_first else array

    return StoredArray(path, name, shape, dtype, load)


def _data_start(path: Path, member: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: after its local header, which repeats its name and says how long it is itself."""
    with open(path, "rb") as file:
        file.seek(member.header_offset)
        local = file.read(LOCAL_HEADER_BYTES)
    start = member.header_offset + LOCAL_HEADER_BYTES
    start += int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
    if start + member.compress_size > path.stat().st_size:
        raise ValueError("it ends beyond the end of the file")
    return start


def _inflate(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, header: int) -> np.ndarray:
    """The uncompressed bytes of a member after its header; the checksum is verified at the end."""
    name = member.filename.removesuffix(".npy")
    content = np.empty(member.file_size - header, np.uint8)
    try:
        with archive.open(member) as file:
            file.read(header)
            filled = file.readinto(content)
            while filled < content.size and (more := file.readinto(content[filled:])):
                filled += more
            if filled < content.size or file.read(1):
                raise EOFError("it has another length than the directory says")
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise InputError(f"{path}: {name!r} cannot be read ({error}); copy the file again") from error
    return content
