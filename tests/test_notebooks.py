"""The chapters: in step with their sources, and true to the code."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext", reason="the chapters need the extra `notebooks`")
import nbformat  # noqa: E402

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
SOURCES = sorted((NOTEBOOKS / "src").glob("*.py"))
MOST_COLUMNS = 72  # of code: the width of the book's page

sys.path.insert(0, str(NOTEBOOKS))
import build  # noqa: E402

chapters = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def committed(source: Path) -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOKS / f"{source.stem}.ipynb", 4)


def test_every_notebook_has_a_source():
    assert SOURCES
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == {path.stem for path in SOURCES}


@chapters
def test_a_notebook_is_its_source_executed(source):
    notebook, fresh = committed(source), build.read(source)
    assert [(c.cell_type, c.source, c.id, c.metadata) for c in notebook.cells] == [
        (c.cell_type, c.source, c.id, c.metadata) for c in fresh.cells
    ], f"run python notebooks/build.py {source.stem[:2]}"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "cells were not run in order"
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"], "a warning is shown"
    build.check(notebook, source.stem)


@chapters
def test_code_fits_the_page(source):
    for cell in build.read(source).cells:
        if cell.cell_type == "code":
            wide = [line for line in cell.source.splitlines() if len(line) > MOST_COLUMNS]
            assert not wide, f"wider than {MOST_COLUMNS} columns"


@chapters
def test_what_is_only_drawn_claims_nothing(source):
    """The book folds these cells away: nothing that a reader should see may stand in them."""
    drawings = [cell for cell in build.read(source).cells if "drawing" in cell.metadata.get("tags", ())]
    assert drawings
    for cell in drawings:
        assert not re.search(r"\b(assert|assert_\w+|print)\b", cell.source), cell.source[:200]


@chapters
def test_a_chapter_runs_and_its_exercises_tell_right_from_wrong(source, tmp_path):
    """Every cell, on less data, in a fresh process; each stub must fail its check and each solution pass it."""
    environment = {**os.environ, "TINYVIT_FAST": "1", "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("run_chapter.py"), source],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    exercises = json.loads(done.stdout.splitlines()[-1])
    assert exercises, "a chapter without an exercise"
    assert all(pair == [False, True] for pair in exercises), exercises


def test_an_output_that_is_another_each_time_is_refused():
    cell = nbformat.v4.new_code_cell("f")
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="<function f at 0x7f12ab34cd56>")]
    with pytest.raises(ValueError, match="prints an address, at 0x7f12ab34cd56"):
        build.check(nbformat.v4.new_notebook(cells=[cell]), "name")
