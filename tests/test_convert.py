"""python -m tinyvit.convert."""

import json

import numpy as np
import pytest
from published_files import CLASSES, timm_file
from safetensors.numpy import load_file
from small_runs import OPTIONS, command, contents, process, refused

from tinyvit import checkpoints, convert
from tinyvit.data import imagenet_names
from tinyvit.models import load_model
from tinyvit.models.published import load_pretrained


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return timm_file(tmp_path_factory.mktemp("weights") / "vit.safetensors")


def assert_same(ours, theirs) -> None:
    """The same config and, to the last bit, the same weights."""
    assert ours.config == theirs.config
    expected = dict(theirs.named_parameters())
    assert expected.keys() == dict(ours.named_parameters()).keys()
    for name, parameter in ours.named_parameters():
        np.testing.assert_array_equal(parameter.data, expected[name].data, err_msg=name)


def test_to_tinyvit_by_default(weights, tmp_path):
    out = tmp_path / "mine.safetensors"
    ended = command("convert", weights, out)
    model, metadata = load_model(out)
    assert_same(model, load_pretrained(weights))
    assert ended.status == 0 and ended.err == ""
    assert ended.out == f"{model.num_parameters:,} parameters for tinyvit: {out}\n"
    # What timm's file did not say but everybody knows is written into it.
    assert metadata["classes"] == imagenet_names(CLASSES)


@pytest.mark.parametrize("form", ["timm", "huggingface"])
def test_there_and_back(weights, tmp_path, form):
    """The preprocessing and the names of the classes come along too."""
    theirs, back = tmp_path / "theirs", tmp_path / "back"
    assert command("convert", weights, theirs, "--to", form).status == 0
    assert sorted(contents(theirs))[:2] == ["config.json", "model.safetensors"]
    assert command("convert", theirs, back).status == 0
    expected, found = load_pretrained(weights), checkpoints.open_model(back)
    assert_same(found.model, expected)
    assert found.known_names == imagenet_names(CLASSES)


def test_to_a_file_of_timm(weights, tmp_path):
    out = tmp_path / "new folder" / "vit.safetensors"
    assert process("convert", weights, out, "--to", "timm").status == 0
    before, after = load_file(weights), load_file(out)
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name], err_msg=name)


def test_a_run_for_timm(finished, tmp_path):
    """With the names of its own classes."""
    assert command("convert", finished, tmp_path / "out", "--to", "timm").status == 0
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["num_classes"] == 10 and config["label_names"][9] == "Ankle boot"
    found = checkpoints.open_model(tmp_path / "out")
    assert_same(found.model, load_model(finished / "model.safetensors")[0])
    assert found.known_names == config["label_names"]


def test_a_note_is_passed_on(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "save_pretrained", lambda *_: ["a little differs"])
    assert command("convert", weights, tmp_path / "out").out.endswith("\nnote: a little differs\n")


def test_bad_input(weights, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    held = tmp_path / "held"
    held.mkdir()
    (held / "notes.txt").write_text("mine")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(weights.read_bytes()[:1000])
    before = contents(tmp_path)
    refused(r"unknown form 'tim': did you mean 'timm'", "convert", weights, "out", "--to", "tim")
    refused(r"broken\.safetensors is cut short", "convert", broken, "out")
    refused(r"no model at nowhere", "convert", "nowhere", "out")
    refused(r"held holds something already", "convert", weights, held)
    refused(r"broken\.safetensors holds something already", "convert", weights, broken)
    refused(r"new\.npz is no name", "convert", weights, "new.npz")
    refused(r"cannot make the folder .*notes\.txt", "convert", weights, held / "notes.txt" / "out")
    refused(r"transformers needs a folder", "convert", weights, "out.safetensors", "--to", "huggingface")
    refused(r"required: IN, OUT", "convert")
    assert contents(tmp_path) == before


def test_a_model_that_the_other_program_does_not_have(tmp_path):
    assert command("train", *OPTIONS, "--pool", "mean", "--epochs", "1", "--out", tmp_path / "run").status == 0
    refused(r"transformers", "convert", tmp_path / "run", tmp_path / "out", "--to", "huggingface")
    assert not (tmp_path / "out").exists()
