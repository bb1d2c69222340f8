"""Runs a chapter's source as a program: ``python run_chapter.py notebooks/src/NN_name.py``.

Prints a JSON list with a pair for each exercise: what its check says of the stub and of the solution.
"""

import ast
import json
import os
import sys
from pathlib import Path

import jupytext


def run(source: str, name: str, namespace: dict):
    """Execute a cell; the value of its last expression, as a notebook would show it."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), namespace)
    return eval(compile(ast.Expression(last.value), name, "eval"), namespace) if last else None


def main() -> None:
    path = Path(sys.argv[1]).resolve()
    os.chdir(path.parent.parent)  # notebooks/, where they run for a reader, too
    namespace: dict = {"__name__": "__main__"}
    exercises: list[list] = []
    for number, cell in enumerate(jupytext.read(path, fmt="py:percent").cells):
        if cell.cell_type != "code":
            continue
        tags = cell.metadata.get("tags", ())
        value = run(cell.source, f"{path.stem} cell {number}", namespace)
        if "check" in tags:
            exercises.append([value])
        if "solution" in tags:
            exercises[-1].append(value)
    print("\n" + json.dumps(exercises))


if __name__ == "__main__":
    main()
