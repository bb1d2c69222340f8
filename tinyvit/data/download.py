"""Fetches a data file over HTTP into a cache folder: resumable, checked, and never seen half done."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tinyvit.errors import InputError

if TYPE_CHECKING:  # the HTTP client is imported only when something is downloaded
    from http.client import HTTPResponse

PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 206, 416  # HTTP status codes
TIMEOUT = 30  # seconds without an answer
CHUNK = 1 << 18  # bytes


@dataclass(frozen=True)
class RemoteFile:
    """A file and the addresses it can be had from, tried in turn. size: bytes, exactly."""

    name: str
    urls: tuple[str, ...]
    size: int
    md5: str


class _DownloadFailed(Exception):
    """One address did not give the file; the message is why."""


def md5_of(path: Path) -> str:
    """The MD5 of a file, in hexadecimal: the checksum that the publishers of the data sets give."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def download(file: RemoteFile, folder: Path) -> Path:
    """The path of ``file`` in ``folder``, fetched if it is not there yet.

    Bytes are gathered in NAME.part, which a later call continues; the file gets its name once its checksum is
    right. A file that is there already is taken as it is: its reader checks it. Raises InputError, with each
    address and the place to put the file by hand, when no address gives it.
    """
    target = folder / file.name
    if target.exists():
        return target
    part = folder / f"{file.name}.part"
    failures = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for url in file.urls:
            try:
                _fetch(url, part, file)
                _check(part, file)
            except _DownloadFailed as failure:
                failures.append(f"{url} ({failure})")
            else:
                part.replace(target)
                return target
    except OSError as error:
        raise InputError(
            f"cannot write {error.filename or part} ({error.strerror}): make room there, or set "
            "TINYVIT_CACHE to another folder"
        ) from None
    again = "run again to continue where it stopped" if part.exists() else "run again"
    raise InputError(
        f"cannot download {file.name} from {' or '.join(failures)}: check the connection and {again}, "
        f"or put the file at {target}"
    )


def _fetch(url: str, part: Path, file: RemoteFile) -> None:
    """Brings ``part`` to its full size, from where it stands if the server can do that."""
    have = part.stat().st_size if part.exists() else 0
    if have >= file.size:
        return  # the checksum decides whether it is the file
    with _open(url, have) as response:
        start = have if response.status == PARTIAL_CONTENT else 0
        if response.length is not None and start + response.length != file.size:
            raise _DownloadFailed(f"it offers {start + response.length:,} bytes, expected {file.size:,}")
        with part.open("ab" if start else "wb") as out:
            _copy(response, out, start, file)


def _open(url: str, start: int) -> "HTTPResponse":
    """The server's answer to a request for the file, from byte ``start`` on or, failing that, whole."""
    import urllib.error
    import urllib.request
    from http.client import HTTPException

    headers = {"User-Agent": "tinyvit"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if start and error.code == RANGE_NOT_SATISFIABLE:
            return _open(url, 0)
        raise _DownloadFailed(f"HTTP status {error.code}") from None
    except (OSError, HTTPException) as error:
        raise _DownloadFailed(str(getattr(error, "reason", error))) from None
    given = response.headers.get("Content-Range", "")
    if start and response.status == PARTIAL_CONTENT and not given.startswith(f"bytes {start}-"):
        response.close()
        return _open(url, 0)
    return response


def _copy(response: "HTTPResponse", out: BinaryIO, start: int, file: RemoteFile) -> None:
    """Writes what the server sends, with a progress bar, until the file is whole or the connection ends."""
    from http.client import HTTPException

    from tqdm import tqdm

    done = start
    with tqdm(total=file.size, initial=start, desc=file.name, unit="B", unit_scale=True, leave=False) as bar:
        while done < file.size:
            try:
                chunk = response.read(min(CHUNK, file.size - done))
            except (OSError, HTTPException) as error:
                raise _DownloadFailed(f"it stopped at {done:,} of {file.size:,} bytes: {error}") from None
            if not chunk:
                raise _DownloadFailed(f"it stopped at {done:,} of {file.size:,} bytes")
            out.write(chunk)
            done += len(chunk)
            bar.update(len(chunk))


def _check(part: Path, file: RemoteFile) -> None:
    found = md5_of(part)
    if found != file.md5:
        part.unlink()
        raise _DownloadFailed(f"what came has MD5 {found}, expected {file.md5}; it was deleted")
