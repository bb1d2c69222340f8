"""What the tests of the commands share: options for a run of a second, and how a command is run."""

import contextlib
import importlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from tinyvit import commands

EPOCHS, STEPS = 4, 6  # steps an epoch
# All that decides how well it learns is fixed here, whatever the recipe of the size is.
OPTIONS = (
    "--size nano --width 16 --depth 1 --heads 1 --mlp-width 16 --limit-train 300 --limit-test 100 --batch-size 50 "
    f"--epochs {EPOCHS} --lr 0.02 --warmup-epochs 0.5 --schedule cosine --weight-decay 0.05 --clip 1 --beta2 0.99 "
    "--pool class_token --embedding-std 0 --dropout 0.1 --mixup 0.2 --label-smoothing 0.1 --ema 0.9 --seed 0 "
    "--flip --shift 1 --workers 2"
).split()
TIMINGS = ("images_per_second", "seconds")


class Ended(NamedTuple):
    """How a command ended: its exit status and what it printed."""

    status: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The one line of an error that is the user's to mend."""
        assert self.status == 2, self
        assert self.err.count("\n") == 1 and self.err.endswith("\n"), self.err
        assert self.err.startswith("error: ") and "Traceback" not in self.err, self.err
        return self.err.removeprefix("error: ").rstrip()


def command(name: str, *options: str | Path) -> Ended:
    """Run ``python -m tinyvit.<name>`` within this process, which saves starting Python."""
    out, err = io.StringIO(), io.StringIO()
    module = importlib.import_module(f"tinyvit.{name}")
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        patch.setattr(sys, "argv", [name, *map(str, options)])
        commands.run(module.main)
    return Ended(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def process(name: str, *options: str | Path, folder: Path | None = None) -> Ended:
    """Run ``python -m tinyvit.<name>`` as a user does, in ``folder``."""
    arguments = [sys.executable, "-m", f"tinyvit.{name}", *map(str, options)]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=folder, timeout=120)
    return Ended(done.returncode, done.stdout, done.stderr)


def contents(folder: Path, leave_out: Iterable[str] = ()) -> dict[str, bytes]:
    """Every file below a folder and its bytes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in leave_out)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def metrics(folder: Path, leave_out: Iterable[str] = ()) -> list[dict]:
    """The rows of a run's metrics.jsonl."""
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in row.items() if key not in leave_out} for row in rows]


def refused(expected: str, name: str, *options: str | Path) -> str:
    """The line with which a command refuses its input, which must match ``expected``."""
    message = command(name, *options).message
    assert re.search(expected, message), message
    return message


def pictures(folder: Path, count: int = 3) -> None:
    folder.mkdir(parents=True)
    for index in range(count):
        Image.new("RGB", (20, 20), (index, 0, 0)).save(folder / f"{index}.png")
