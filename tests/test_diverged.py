"""A run whose loss is no longer a number stops, and what was good is kept."""

import signal
from pathlib import Path

import numpy as np
import pytest
from small_runs import OPTIONS, STEPS, command, contents, metrics

from tinyvit.files import read_tensors
from tinyvit.training.step import TrainStep


def poison(monkeypatch, step_to_spoil: int, value: float = np.nan) -> None:
    """Make the parameters no number after the update of one step (from 0)."""
    step = TrainStep.__call__

    def spoiled(self, images, targets, number, learning_rate):
        result = step(self, images, targets, number, learning_rate)
        if number == step_to_spoil:
            self.flat.data[:] = value
        return result

    monkeypatch.setattr(TrainStep, "__call__", spoiled)


def diverged(folder: Path) -> str:
    """The message of a run that diverges."""
    return command("train", *OPTIONS, "--out", folder).message


def test_an_absurd_learning_rate_stops_with_one_line(tmp_path):
    folder = tmp_path / "run"
    message = command("train", *OPTIONS, "--lr", "1e38", "--clip", "0", "--warmup-epochs", "0", "--out", folder).message
    assert "is no longer a number at epoch 1, step " in message
    assert "no checkpoint was saved yet" in message and "lower --lr" in message
    assert sorted(contents(folder)) == ["config.json"]


@pytest.mark.parametrize("step", [STEPS, 2 * STEPS - 1], ids=["in the second epoch", "in its last update"])
def test_the_last_good_checkpoint_is_kept(tmp_path, monkeypatch, step):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        poison(patch, step)
        message = diverged(folder)
    assert "no longer a number at epoch 2, step " in message
    assert f"the last good checkpoint, {folder / 'checkpoint.safetensors'}, is kept" in message
    assert len(metrics(folder)) == 1
    for name in ("checkpoint", "model", "best"):
        tensors, _ = read_tensors(folder / f"{name}.safetensors")
        assert all(np.isfinite(tensor).all() for tensor in tensors.values())
    assert command("evaluate", folder).status == 0
    resumed = command("train", "--resume", folder)
    assert resumed.status == 0 and "resumed    after epoch 1, step 0" in resumed.out


def test_weights_that_are_only_too_large_do_not_pass_for_good(tmp_path, monkeypatch):
    """Numbers still, but what the model computes from them is none: the test loss shows it."""
    poison(monkeypatch, 2 * STEPS - 1, value=3e38)
    monkeypatch.setattr(TrainStep, "evaluated_parameters", property(lambda self: self.flat.data))
    folder = tmp_path / "run"
    assert "the test loss is no longer a number after epoch 2" in diverged(folder)
    assert len(metrics(folder)) == 1


def test_ctrl_c_does_not_save_what_is_no_number(tmp_path, monkeypatch):
    poison(monkeypatch, STEPS + 2)
    step = TrainStep.__call__

    def interrupted(self, images, targets, number, learning_rate):
        result = step(self, images, targets, number, learning_rate)
        if number == STEPS + 2:
            signal.raise_signal(signal.SIGINT)
        return result

    monkeypatch.setattr(TrainStep, "__call__", interrupted)
    folder = tmp_path / "run"
    ended = command("train", *OPTIONS, "--out", folder)
    assert "a weight is no longer a number at epoch 2, step 3" in ended.message
    tensors, _ = read_tensors(folder / "checkpoint.safetensors")
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())
