"""Makes the chapters: executes notebooks/src/NN_name.py and writes notebooks/NN_name.ipynb, always the same bytes.

    python notebooks/build.py                 # all chapters
    python notebooks/build.py 04              # those whose names begin so
    python notebooks/build.py --fast --out /tmp/x   # quickly, on less data (TINYVIT_FAST=1), somewhere else

A cell tagged "varies" prints what is different each time, such as a measured time: its outputs are taken from the
notebook that is there, as long as the cell's code is the same. ``--refresh`` measures again.
"""

import argparse
import os
import re
import sys
import warnings
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
SOURCES = HERE / "src"
SECONDS = 600  # for one cell, after which it is stopped
MOST_BYTES = 1_000_000
# The prompt's version and the interpreter's are of the machine, not of the chapter.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def chapters(names: list[str]) -> list[Path]:
    """The sources whose names begin with one of ``names``, or all of them."""
    found = sorted(SOURCES.glob("[0-9][0-9]_*.py"))
    return [path for path in found if not names or any(path.stem.startswith(name) for name in names)]


def read(source: Path) -> nbformat.NotebookNode:
    """The notebook of a source, with cells that are always called the same."""
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"{source.stem[:2]}-{number:03d}"
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
    return notebook


def execute(notebook: nbformat.NotebookNode, fast: bool) -> None:
    """Run every cell in order, in a fresh interpreter that stands in notebooks/.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    environment = {"PYTHONHASHSEED": "0", "PYTHONWARNINGS": "default", **({"TINYVIT_FAST": "1"} if fast else {})}
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the client about its own event loop
            NotebookClient(
                notebook,
                timeout=SECONDS,
                record_timing=False,
                resources={"metadata": {"path": str(HERE)}},
            ).execute()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)


def _joined(outputs: list) -> list:
    """The outputs with each run of prints as one: where they are cut depends on chance."""
    joined = []
    for output in outputs:
        if output.output_type == "stream" and joined and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def keep_measurements(notebook: nbformat.NotebookNode, before: Path) -> None:
    """Put back the outputs of cells tagged "varies" from the notebook that is there, where their code is the same."""
    if not before.exists():
        return
    known = {cell.source: cell.outputs for cell in nbformat.read(before, 4).cells if cell.cell_type == "code"}
    for cell in notebook.cells:
        if "varies" in cell.metadata.get("tags", ()) and cell.source in known:
            cell.outputs = known[cell.source]


def check(notebook: nbformat.NotebookNode, name: str) -> str:
    """The notebook as text, after proving that it can be committed.

    Raises:
        ValueError: an address in memory in an output, or too many bytes.
    """
    text = nbformat.writes(notebook) + "\n"
    for cell in notebook.cells:
        if address := re.search(r"at 0x[0-9a-f]{6,}", str(cell.get("outputs", ""))):
            raise ValueError(f"{name}: cell {cell.id} prints an address, {address[0]}, which is another each time")
    if len(text) > MOST_BYTES:
        raise ValueError(f"{name}: {len(text):,} bytes are more than {MOST_BYTES:,}: make its figures smaller")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description="Execute the chapters and write their notebooks.")
    parser.add_argument("chapters", nargs="*", metavar="NN", help="beginnings of names (default: all)")
    parser.add_argument("--fast", action="store_true", help="less data and fewer steps, as the tests do")
    parser.add_argument("--refresh", action="store_true", help="measure again what is different each time")
    parser.add_argument("--out", type=Path, default=HERE, metavar="FOLDER", help="where to write (default: here)")
    given = parser.parse_args()
    for source in chapters(given.chapters) or sys.exit(f"error: no chapter begins with {given.chapters}"):
        notebook, target = read(source), given.out / f"{source.stem}.ipynb"
        execute(notebook, given.fast)
        if not given.refresh:
            keep_measurements(notebook, target)
        target.write_text(check(notebook, source.stem), encoding="utf-8")
        print(f"{target} {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
