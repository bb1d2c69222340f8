"""Fetches MathJax once, through npm, into the user's cache: it typesets the book's mathematics and is no part of it."""

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

VERSION = "3.2.2"
SHA256 = "1b9c0a1c44df864e915690558e72adb9cc5203360daefd385084ced3b6c64c09"  # of npm's mathjax-3.2.2.tgz


class CannotFetch(Exception):
    """MathJax is neither in the cache nor to be had."""


def mathjax_folder() -> Path:
    """The folder es5 of MathJax, from the cache or else fetched now.

    Raises:
        CannotFetch: with the reason and what to do.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinyvit"
    folder = cache / f"mathjax-{VERSION}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            archive = _fetch(Path(temporary))
            with tarfile.open(archive) as tar:
                tar.extractall(temporary, filter="data")
            try:
                (Path(temporary) / "package").rename(folder)
            except OSError:
                if not folder.exists():  # otherwise another build was faster
                    raise
    return folder / "es5"


def _fetch(folder: Path) -> Path:
    name = f"mathjax@{VERSION}"
    if shutil.which("npm") is None:
        raise CannotFetch(f"the book's mathematics needs {name}, and npm, which fetches it, is not installed")
    done = subprocess.run(["npm", "pack", name], cwd=folder, capture_output=True, text=True)
    archive = folder / f"mathjax-{VERSION}.tgz"
    if done.returncode != 0 or not archive.exists():
        raise CannotFetch(
            f"npm could not fetch {name}, which the book's mathematics needs; with a network this works once and for "
            f"all: npm said {done.stderr.strip()[-300:]!r}"
        )
    if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
        raise CannotFetch(f"npm fetched a {name} that is not the one this book was made with (its SHA-256 differs)")
    return archive
