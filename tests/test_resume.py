"""A run that is stopped, at whatever moment, and resumed ends with the same bytes as one left alone."""

import importlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from small_runs import EPOCHS, OPTIONS, STEPS, TIMINGS, Ended, command, contents, metrics, process

from tinyvit import train
from tinyvit.training.settings import DataSettings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
KILLED = -9


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    ended = command("train", *OPTIONS, "--out", folder)
    assert ended.status == 0, ended
    return folder


def train_until(moment: str | int, *options: str | Path, send: str = "SIGKILL") -> Ended:
    """Train in a process that sends itself a signal at a moment: see signal_at.py."""
    script = Path(__file__).with_name("signal_at.py")
    arguments = [sys.executable, str(script), send, str(moment), *map(str, options)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    return Ended(done.returncode, done.stdout, done.stderr)


def assert_same(folder: Path, alone: Path) -> None:
    """The same models and config to the last byte, the same metrics apart from timings, and no other files."""
    for name in ("model.safetensors", "best.safetensors", "config.json"):
        assert (folder / name).read_bytes() == (alone / name).read_bytes(), name
    assert metrics(folder, leave_out=TIMINGS) == metrics(alone, leave_out=TIMINGS)
    assert contents(folder).keys() == contents(alone).keys()


def test_another_process_gives_the_same_bytes(alone, tmp_path):
    assert process("train", *OPTIONS, "--out", tmp_path / "run").status == 0
    assert_same(tmp_path / "run", alone)


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_again_and_again_at_random_moments(alone, tmp_path, seed):
    random = np.random.default_rng(seed)
    folder = tmp_path / "run"
    options, kills = [*OPTIONS, "--out", folder], 0
    while (ended := train_until(random.integers(3, 30), *options)).status != 0:
        assert ended.status == KILLED, ended
        options, kills = ["--resume", folder], kills + 1
        assert kills < 50
    assert kills >= 3
    assert_same(folder, alone)


@pytest.mark.parametrize(
    "moment, done",
    [
        ("renamed:model:2", 1),
        ("renamed:metrics:2", 1),
        ("half:checkpoint:2", 1),
        ("whole:checkpoint:4", 3),
        ("renamed:checkpoint:4", 4),
    ],
)
def test_killed_while_an_epoch_is_saved(alone, tmp_path, moment, done):
    folder = tmp_path / "run"
    assert train_until(moment, *OPTIONS, "--out", folder).status == KILLED
    assert command("evaluate", folder).status == 0, "the models are not whole"
    ended = command("train", "--resume", folder)
    assert ended.status == 0
    assert (f"resumed    after epoch {done}, step 0" if done < EPOCHS else "nothing is left to train") in ended.out
    (folder / "confusion.png").unlink()
    assert_same(folder, alone)


@pytest.mark.parametrize("moment", ["renamed:config:1", "step:3", "half:model:1", "half:checkpoint:1"])
def test_killed_before_the_first_checkpoint(alone, tmp_path, moment):
    folder = tmp_path / "run"
    assert train_until(moment, *OPTIONS, "--out", folder).status == KILLED
    assert command("train", "--resume", folder).status == 0
    assert_same(folder, alone)


def test_killed_from_outside_after_random_times(alone, tmp_path):
    random = np.random.default_rng(0)
    folder = tmp_path / "run"
    options, kills = [*OPTIONS, "--out", str(folder)], 0
    for attempt in range(50):
        arguments = [sys.executable, "-m", "tinyvit.train", *options]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as running:
            for line in running.stdout:
                if line.startswith("epoch"):  # the table's head: training begins
                    break
            # Ever longer, so that a slow machine gets it done, too.
            time.sleep(random.uniform(0.02, 0.1) * (1 + attempt / 4))
            running.kill()
        if running.returncode == 0:
            break
        kills += 1
        options = ["--resume", str(folder)]
        if (folder / "metrics.jsonl").exists() and len(metrics(folder)) == EPOCHS:
            break
    assert kills >= 3
    assert command("train", "--resume", folder).status == 0
    assert_same(folder, alone)


@pytest.mark.parametrize(
    "send, step",
    [("SIGINT", 2), ("SIGINT", STEPS), ("SIGINT", STEPS + 3), ("SIGTERM", STEPS + 3)],
    ids=["first epoch", "end of the first epoch", "second epoch", "SIGTERM"],
)
def test_asked_to_stop(alone, tmp_path, send, step):
    folder = tmp_path / "run"
    ended = train_until(f"step:{step}", *OPTIONS, "--out", folder, send=send)
    assert ended.status == 130 and ended.err == ""
    assert f"python -m tinyvit.train --resume {folder}" in ended.out
    resumed = command("train", "--resume", folder)
    assert (
        resumed.status == 0
        and f"resumed    after epoch {step // STEPS}, step {step % STEPS} of the next" in resumed.out
    )
    assert_same(folder, alone)


def test_asked_to_stop_in_the_last_epoch_finishes_what_is_done(alone, tmp_path):
    """There is nothing left to go on with once the last step is done, so the run ends as if it had not been asked."""
    ended = train_until(f"step:{EPOCHS * STEPS}", *OPTIONS, "--out", tmp_path / "run", send="SIGINT")
    assert ended.status == 0 and "test accuracy" in ended.out
    assert_same(tmp_path / "run", alone)


class AskedAtOnce:
    """Stands for interruptible() when Ctrl-C is pressed during each step."""

    def __enter__(self):
        return lambda: True

    def __exit__(self, *_):
        pass


def test_stopped_after_every_step_and_resumed_with_other_cores(alone, tmp_path, monkeypatch):
    """In one process: what it still remembers, and how many cores there are now, must not matter."""
    folder = tmp_path / "run"
    options = [*OPTIONS, "--out", folder]
    monkeypatch.setattr(importlib.import_module("tinyvit.training.fit"), "interruptible", AskedAtOnce)
    monkeypatch.setattr(train, "available_cores", lambda: 7)
    monkeypatch.setattr(train, "draw_curves", lambda history, path: path.touch())  # it takes longer than all the rest
    stops = 0
    while (ended := command("train", *options)).status == 130:
        assert "2 workers" in ended.out
        options, stops = ["--resume", folder], stops + 1
    assert ended.status == 0 and stops == EPOCHS * STEPS - 1
    assert_same(folder, alone)


def test_a_finished_run_says_so_and_is_left_as_it_is(alone):
    before = contents(alone, leave_out=["curves.png"])
    ended = command("train", "--resume", alone)
    assert ended.status == 0 and ended.err == ""
    assert f"all {EPOCHS} epochs are done: nothing is left to train" in ended.out
    assert "test accuracy" in ended.out
    assert contents(alone, leave_out=["curves.png"]) == before


def test_ctrl_c_while_the_data_load_is_one_line(monkeypatch):
    def load(self):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(DataSettings, "load", load)
    ended = command("train", *OPTIONS)
    assert ended.status == 130 and ended.err == "error: stopped by hand\n"
