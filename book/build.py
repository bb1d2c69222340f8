"""Builds the book: a site, a PDF or an EPUB, below book/_build.

    python book/build.py html      # book/_build/html/index.html: open it, no server and no network needed
    python book/build.py pdf       # book/_build/tinyvit.pdf
    python book/build.py epub      # book/_build/tinyvit.epub

Needs ``pip install -e ".[book]"``; the first build fetches MathJax through npm. The PDF needs Chromium, the EPUB Node.
"""

import argparse
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FOLDER = HERE / "_build"


def sphinx(builder: str, target: Path, *options: str) -> None:
    """Run Sphinx with warnings as errors; leave with its status where it fails."""
    if importlib.util.find_spec("sphinx") is None or importlib.util.find_spec("myst_nb") is None:
        sys.exit('error: the book is made with Sphinx, which is not installed: pip install -e ".[book]"')
    if (target / ".buildinfo").exists():  # Sphinx's, from before: pages that are no more would stay
        shutil.rmtree(target)
    doctrees = target.parent / "doctrees" / target.name
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-E"]
    done = subprocess.run([*command, "-b", builder, "-d", str(doctrees), *options, str(HERE), str(target)])
    if done.returncode:
        sys.exit(done.returncode)


def html(folder: Path) -> Path:
    """The site."""
    sphinx("html", folder / "html", "-j", "auto")
    return folder / "html" / "index.html"


def pdf(folder: Path) -> Path:
    """All on one page, printed by Chromium."""
    sphinx("singlehtml", folder / "print", "-t", "print")
    sys.path.insert(0, str(HERE / "extensions"))
    from printing import print_to_pdf

    return print_to_pdf(folder / "print" / "index.html", folder / "tinyvit.pdf")


def epub(folder: Path) -> Path:
    """For reading devices."""
    sphinx("epub", folder / "epub", "-t", "epub")
    return Path(shutil.copyfile(folder / "epub" / "tinyvit.epub", folder / "tinyvit.epub"))


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the book.")
    parser.add_argument("format", choices=("html", "pdf", "epub"))
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="FOLDER", help="where to (default: book/_build)")
    given = parser.parse_args()
    made = {"html": html, "pdf": pdf, "epub": epub}[given.format](given.out)
    print(made)


if __name__ == "__main__":
    main()
