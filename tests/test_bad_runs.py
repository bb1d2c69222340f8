"""Bad runs, models, pictures and disks: one line that says what was given and what to do, exit status 2, no traceback.

The lines are matched loosely: a test pins down what the user must learn, not the wording.
"""

import errno
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from small_runs import EPOCHS, OPTIONS, command, contents, metrics, pictures, refused

from tinyvit.files import read_tensors, write_tensors


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A copy of the run, to be spoiled."""
    return shutil.copytree(finished, tmp_path / "run")


# A run's folder


@pytest.mark.parametrize("held", ["run", "file", "picture"])
def test_out_that_holds_something_is_left_as_it_is(run, tmp_path, held):
    out = run
    if held == "file":
        out = run / "config.json"
    elif held == "picture":
        out = tmp_path / "pets"
        pictures(out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}, contents(tmp_path)
    message = refused(re.escape(f"{out} holds something already"), "train", *OPTIONS, "--out", out)
    assert "another --out" in message
    assert (f"--resume {out}" in message) == (held == "run")
    assert ({path: path.stat().st_mtime_ns for path in out.rglob("*")}, contents(tmp_path)) == before


def test_out_in_a_place_where_no_folder_can_be(run):
    refused(r"cannot make folder .*config\.json/inside", "train", *OPTIONS, "--out", run / "config.json" / "inside")


def test_resume_of_an_empty_folder(tmp_path):
    refused(r"no run in .*config\.json", "train", "--resume", tmp_path)
    assert not list(tmp_path.iterdir())


def test_resume_of_nothing(tmp_path):
    refused(r"no run in .*nowhere", "train", "--resume", tmp_path / "nowhere")


def test_resume_with_other_options(run):
    message = refused(r"--resume takes its settings from", "train", "--resume", run, "--epochs", "9", "--lr", "0.1")
    assert "--epochs" in message and "--lr" in message


@pytest.mark.parametrize(
    "old, new",
    [
        ("{", ""),
        ('"epochs": 4', '"epochs": 0'),
        ('"epochs": 4', '"epochs": "four"'),
        ('"epochs": 4', '"epochs": null'),
        ('"epochs": 4', '"epochs": 4.5'),
        ('"width": 16', '"width": 16.5'),
        ('"width": 16', '"breadth": 16'),
        ('"limit_train": 300', '"limit_train": "300"'),
        ('"limit_train": 300', '"limits": 300'),
        ('"seed": 0', '"seed": [0]'),
        ('"flip": true', '"flop": true'),
        ('"name": "fashion-mini"', '"name": 7'),
        ('"name": "fashion-mini"', '"name": "fashion"'),
    ],
)
def test_resume_with_a_config_that_was_changed_by_hand(run, old, new):
    config = run / "config.json"
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new, 1))
    for name in ("checkpoint.safetensors", "model.safetensors", "best.safetensors"):
        (run / name).unlink()
    command("train", "--resume", run).message  # noqa: B018 - it asserts


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"{}", b'{"model": 1, "recipe": 2, "data": 3}', b"null"])
@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_a_config_that_is_none(run, name, content):
    (run / "config.json").write_bytes(content)
    refused(r"config\.json", name, *(["--resume"] if name == "train" else []), run)


def test_resume_with_settings_that_the_checkpoint_was_not_made_with(run):
    config = run / "config.json"
    config.write_text(config.read_text().replace('"epochs": 4', '"epochs": 6'))
    before = contents(run)
    refused(r"checkpoint\.safetensors is of another run", "train", "--resume", run)
    assert contents(run) == before


# Checkpoints and models


def spoil(path: Path, how: str) -> None:
    """Damage a file of tensors."""
    content = path.read_bytes()
    if how == "cut short":
        path.write_bytes(content[: len(content) * 2 // 3])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "altered":
        altered = bytearray(content)
        altered[-10] ^= 64
        path.write_bytes(altered)
    elif how == "a pickle":
        path.write_bytes(pickle.dumps({"weights": [1.0, 2.0]}))
    elif how == "of another program":
        save_file({"weight": np.ones(3)}, path)
    elif how == "text":
        path.write_text("not at all what is expected here\n" * 9)
    else:
        raise ValueError(how)


DAMAGE = ("cut short", "empty", "altered", "a pickle", "of another program", "text")
SAID = {"empty": "cut short", "text": "no safetensors file", "of another program": "not written by tinyvit"}


@pytest.mark.parametrize("how", DAMAGE)
def test_resume_of_a_damaged_checkpoint(run, how):
    spoil(run / "checkpoint.safetensors", how)
    before = contents(run)
    message = refused(SAID.get(how, how), "train", "--resume", run)
    assert str(run / "checkpoint.safetensors") in message
    assert contents(run) == before


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", ["evaluate", "predict"])
def test_a_damaged_model(run, name, how):
    spoil(run / "model.safetensors", how)
    assert str(run / "model.safetensors") in refused(SAID.get(how, how), name, run)


def test_a_checkpoint_of_another_model(run, tmp_path):
    other = tmp_path / "other"
    assert command("train", *OPTIONS, "--width", "8", "--epochs", "1", "--out", other).status == 0
    shutil.copy(other / "checkpoint.safetensors", run / "checkpoint.safetensors")
    refused(r"checkpoint\.safetensors is of another run", "train", "--resume", run)


def test_a_checkpoint_with_a_tensor_of_another_shape(run):
    path = run / "checkpoint.safetensors"
    tensors, metadata = read_tensors(path)
    tensors["parameters.norm.gamma"] = np.ones(3, np.float32)
    write_tensors(path, tensors, metadata)
    refused(r"of another model: parameters\.norm\.gamma has shape \(3,\), not \(16,\)", "train", "--resume", run)


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda tensors: tensors.pop("norm.gamma"), r"of another model: it lacks parameter 'norm\.gamma'"),
        (lambda tensors: tensors.update(extra=np.ones(1)), r"of another model: it has the unknown parameter 'extra'"),
        (lambda tensors: tensors.update({"norm.gamma": np.ones(3)}), r"'norm\.gamma' has shape \(3,\), expected"),
    ],
)
def test_a_model_whose_tensors_do_not_fit_its_config(run, change, expected):
    path = run / "model.safetensors"
    tensors, metadata = read_tensors(path)
    change(tensors)
    write_tensors(path, tensors, metadata)
    refused(expected, "evaluate", run)


def test_a_checkpoint_is_no_model_and_a_model_no_checkpoint(run):
    refused(r"checkpoint\.safetensors holds no tinyvit model", "evaluate", run / "checkpoint.safetensors")
    shutil.copy(run / "model.safetensors", run / "checkpoint.safetensors")
    refused(r"is of another run", "train", "--resume", run)


def test_a_model_of_other_data(run, tmp_path):
    """The model of a run with 16 px, put into the folder of one with 28 px."""
    other = tmp_path / "other"
    command("train", *OPTIONS, "--image-size", "16", "--epochs", "1", "--out", other)
    shutil.copy(other / "model.safetensors", run / "model.safetensors")
    refused(r"'fashion-mini' has .*28.*the model was made for .*16", "evaluate", run)


@pytest.mark.parametrize("name", ["evaluate", "predict"])
def test_a_run_without_a_model(run, tmp_path, name):
    (run / "model.safetensors").unlink()
    refused(rf"no epoch is finished yet: python -m tinyvit.train --resume {re.escape(str(run))}", name, run)
    refused(r"no model at .*nowhere; train one first", name, tmp_path / "nowhere")


# Pictures


def test_a_picture_that_is_not_there(finished):
    refused(r"cannot read the picture nowhere\.png.*No such file", "predict", finished, "nowhere.png")


@pytest.mark.parametrize("content", [b"a text\n", b"", b"\x89PNG\r\n\x1a\n half", b"\xff\xd8\xff\xe0 half"])
def test_a_picture_that_is_none(finished, tmp_path, content):
    file = tmp_path / "notes.png"
    file.write_bytes(content)
    before = contents(finished)
    refused(r"cannot read the picture .*notes\.png", "predict", finished, file)
    refused(r"cannot read the picture", "predict", finished, tmp_path)
    assert contents(finished) == before


# A full disk


@pytest.mark.parametrize("name", ["model", "best", "metrics", "checkpoint", "curves"])
def test_a_disk_that_gets_full_while_saving(finished, tmp_path, monkeypatch, name):
    """Space for all files of the first epoch, none for this one of the second."""
    run = tmp_path / "run"
    replace = os.replace

    def full(source, target):
        if Path(target).stem == name and (run / "checkpoint.safetensors").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        message = refused("No space left on device", "train", *OPTIONS, "--out", run)
    assert f"cannot write {run / name}." in message
    assert not list(run.glob(".*")), "the temporary file takes space"
    assert command("train", "--resume", run).status == 0
    for file in ("model.safetensors", "best.safetensors"):
        assert (run / file).read_bytes() == (finished / file).read_bytes()
    assert len(metrics(run)) == EPOCHS


def test_files_that_may_not_grow(run):
    """No mock: the kernel lets no file grow beyond 20 kB, which is enough for the models, not for the checkpoint."""
    for file in ("model.safetensors", "best.safetensors", "curves.png", "metrics.jsonl", "checkpoint.safetensors"):
        (run / file).unlink()
    script = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
from tinyvit import commands, train
commands.run(train.main)
"""
    arguments = [sys.executable, "-c", script, "--resume", str(run)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"error: cannot write {run / 'checkpoint.safetensors'}" in done.stderr
    assert sorted(contents(run)) == ["best.safetensors", "config.json", "metrics.jsonl", "model.safetensors"]
    assert command("evaluate", run).status == 0
