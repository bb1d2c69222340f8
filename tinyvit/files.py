"""Files that are whole or not there at all: atomic writing, and named arrays with a checksum (safetensors)."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from tinyvit.errors import InputError

METADATA_KEY = "tinyvit"
# How a zip archive of PyTorch's and a pickle of each binary protocol begin.
PICKLES = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def cache_folder() -> Path:
    """Where downloads and built libraries are kept: $TINYVIT_CACHE, or else ~/.cache/tinyvit."""
    return Path(os.environ.get("TINYVIT_CACHE") or "~/.cache/tinyvit").expanduser()


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Have ``write`` make a temporary file beside ``path``, sync it to the disk and rename it to ``path``.

    Whenever the process is killed, ``path`` is the whole old file or the whole new one.

    Raises:
        InputError: the file cannot be written (a full disk, no permission); what ``path`` held before is untouched.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name itself must reach the disk
        finally:
            os.close(folder)
    except Exception as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) or type(error).__name__ == "SafetensorError":
            reason = getattr(error, "strerror", None) or str(error)
            kept = "the file before it is kept" if path.exists() else "nothing was kept"
            raise InputError(f"cannot write {path}: {reason}; {kept}: make room or choose another folder") from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, atomically. Raises InputError as :func:`write_atomically` does."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: dict) -> None:
    """Write named arrays and JSON metadata to a safetensors file, atomically, with a checksum of all of it.

    The same arrays and metadata always give the same bytes. Raises InputError as :func:`write_atomically` does.
    """
    from safetensors.numpy import save

    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    # One entry for all: the order in which the library writes several is left to chance.
    entry = {METADATA_KEY: json.dumps({"sha256": _checksum(tensors, metadata), **metadata})}
    # Not the library's save_file: killed while it writes, it leaves behind a temporary file of its own.
    write_atomically(path, lambda temporary: temporary.write_bytes(save(tensors, metadata=entry)))


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """The arrays and the metadata that :func:`write_tensors` wrote.

    Raises:
        InputError: no such file, a pickle, a file cut short or altered, or one that tinyvit did not write.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with open(path, "rb") as file:
            start = file.read(2)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give a file that tinyvit.train wrote") from error
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            entry = (file.metadata() or {}).get(METADATA_KEY)
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        # Asked only now, since a whole file can begin with these bytes too: they are the length of its header.
        if start in PICKLES:
            raise InputError(
                f"{path} is a pickle, which can run any code when opened, and is not read: give a .safetensors file"
            ) from error
        raise InputError(
            f"{path} is cut short or no safetensors file ({error}): copy it again or train anew"
        ) from error
    return tensors, verified_metadata(path, tensors, entry)


def verified_metadata(path: Path, tensors: Mapping[str, np.ndarray], entry: str | None) -> dict:
    """The metadata in the entry METADATA_KEY of a file, once its checksum has proved to be that of ``tensors``.

    Raises:
        InputError: there is no entry, or it does not fit.
    """
    if entry is None:
        raise InputError(f"{path} was not written by tinyvit: it holds no {METADATA_KEY!r} metadata")
    try:
        metadata = json.loads(entry)
        expected = metadata.pop("sha256")
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path} is altered: its metadata cannot be read; copy it again or train anew") from error
    if _checksum(tensors, metadata) != expected:
        raise InputError(f"{path} is altered: its checksum does not fit its content; copy it again or train anew")
    return metadata


def _checksum(tensors: Mapping[str, np.ndarray], metadata: dict) -> str:
    digest = hashlib.sha256(json.dumps(metadata).encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)
    return digest.hexdigest()
