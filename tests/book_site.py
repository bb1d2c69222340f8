"""Builds the book for its tests, where all that it needs is there."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BOOK = Path(__file__).parent.parent / "book"
sys.path.insert(0, str(BOOK / "extensions"))


def build(format: str, folder: Path) -> Path:
    """What ``python book/build.py`` makes below ``folder``; skips the test where something is missing, save in CI."""
    if missing := _missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    command = [sys.executable, str(BOOK / "build.py"), format, "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return Path(done.stdout.splitlines()[-1])


def _missing() -> str:
    for module in ("sphinx", "myst_nb", "sphinx_book_theme"):
        if importlib.util.find_spec(module) is None:
            return "the book needs the extra `book`"
    from mathjax_package import CannotFetch, mathjax_folder

    try:
        mathjax_folder()
    except CannotFetch as error:
        return str(error)
    return "" if shutil.which("node") else "the book's EPUB needs Node"
