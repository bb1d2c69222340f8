"""python -m tinyvit.features."""

import io
import re
import shutil
import sys

import numpy as np
import pytest
from published_files import WIDTH, photographs, timm_file
from small_runs import command, contents, process, refused

from tinyvit import features
from tinyvit.models import load_model
from tinyvit.models.published import load_pretrained


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return timm_file(tmp_path_factory.mktemp("weights") / "vit.safetensors")


def expected(model, files) -> np.ndarray:
    """The first token after the last norm, of each file."""
    config = model.config
    images = np.stack([config.preprocessing.read(file, config.image_size, config.channels) for file in files])
    return model.features(config.preprocessing.prepare(images)).data[:, 0]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_features_of_every_picture(weights, tmp_path, monkeypatch, batch_size):
    monkeypatch.setattr(features, "BATCH_SIZE", batch_size)
    files = photographs(tmp_path / "pictures")
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    ended = command("features", weights, tmp_path / "pictures", "-o", tmp_path / "out.npz")
    assert ended.status == 0 and ended.err == "" and "3 pictures, 192 features each: " in ended.out
    with np.load(tmp_path / "out.npz", allow_pickle=False) as out:
        assert set(out) == {"names", "features"}
        assert out["names"].tolist() == ["a.png", "b.JPG", "more/c.webp"]
        assert out["features"].dtype == np.float32 and out["features"].shape == (3, WIDTH)
        np.testing.assert_allclose(out["features"], expected(load_pretrained(weights), files), rtol=1e-4, atol=1e-5)


def test_the_file_has_the_name_that_was_asked_for(weights, tmp_path):
    photographs(tmp_path / "pictures")
    ended = process("features", weights, "pictures", folder=tmp_path)
    assert ended.status == 0 and ended.err == ""
    assert command("features", weights, tmp_path / "pictures", "-o", tmp_path / "mine").status == 0
    assert {"features.npz", "mine"} <= {path.name for path in tmp_path.iterdir()}
    assert (tmp_path / "features.npz").read_bytes()[:2] == (tmp_path / "mine").read_bytes()[:2] == b"PK"


def test_features_of_a_run(finished, tmp_path):
    files = photographs(tmp_path / "pictures")
    assert command("features", finished, tmp_path / "pictures", "-o", tmp_path / "out.npz").status == 0
    model, _ = load_model(finished / "model.safetensors")
    with np.load(tmp_path / "out.npz") as out:
        np.testing.assert_allclose(out["features"], expected(model, files), rtol=1e-4, atol=1e-5)


def test_bad_input(weights, tmp_path, monkeypatch):
    files = photographs(tmp_path / "pictures")
    pictures, empty = tmp_path / "pictures", tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    refused(r"empty holds no pictures: .*\.png", "features", weights, empty)
    refused(r"nowhere is not a folder", "features", weights, tmp_path / "nowhere")
    refused(r"a\.png is not a folder", "features", weights, files[0])
    refused(r"no model at .*nowhere", "features", tmp_path / "nowhere", pictures)
    refused(r"cannot write .*empty: it is a folder", "features", weights, pictures, "-o", empty)
    refused(r"cannot write .*no folder", "features", weights, pictures, "-o", tmp_path / "nowhere" / "out.npz")
    refused(r"required: CHECKPOINT, FOLDER", "features")
    assert contents(tmp_path) == before


def test_a_broken_picture_leaves_nothing_behind(weights, tmp_path):
    photographs(tmp_path / "pictures")
    shutil.copy(weights, tmp_path / "pictures" / "more" / "d.png")
    out = tmp_path / "out.npz"
    refused(r"cannot read the picture .*more/d\.png.*repair or remove", "features", weights, out.parent, "-o", out)
    assert not out.exists()


def test_a_bar_for_a_person(weights, tmp_path, monkeypatch):
    """And for nobody else: test_features_of_every_picture wants an empty error stream where no terminal is."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    features.compute(load_pretrained(weights), photographs(tmp_path / "pictures"))
    assert re.search(r"0/3 .*pictures", sys.stderr.getvalue())
