"""predict on published weights: their names for classes, their preprocessing, their pictures."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from published_files import photographs, timm_file
from small_models import model
from small_runs import command, refused

from tinyvit import predict
from tinyvit.analysis import predictions
from tinyvit.data import imagenet_names
from tinyvit.models.published import load_pretrained


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights with timm's names, alone in their folder."""
    return timm_file(tmp_path_factory.mktemp("weights") / "vit.safetensors")


@pytest.fixture
def picture(tmp_path):
    return photographs(tmp_path / "pictures")[0]


def assert_drawn(path, bars: bool = True) -> None:
    with Image.open(path) as image:
        assert image.format == "PNG" and (image.width > 2.5 * image.height) == bars
        assert np.asarray(image.convert("L")).std() > 20


def test_predict_gives_the_five_best_classes_of_imagenet(weights, picture, tmp_path):
    ended = command("predict", weights, picture, "--out", tmp_path / "seen.png")
    assert ended.status == 0 and ended.err == ""
    loaded = load_pretrained(weights)
    image = loaded.config.preprocessing.read(picture, 32, channels=3)
    logits = loaded(loaded.config.preprocessing.prepare(image[None])).data[0].astype(np.float64)
    shares = np.exp(logits - logits.max())
    best = np.argsort(-shares)[:5]
    expected = ", ".join(f"{imagenet_names(1000)[i]} {shares[i] / shares.sum():.1%}" for i in best)
    assert f"a.png: {expected}\n" in ended.out
    assert_drawn(tmp_path / "seen.png")


def test_predict_prepares_pictures_as_the_config_says(weights, picture, tmp_path):
    """timm's config.json beside the weights names another mean and another crop."""
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(weights, folder / "model.safetensors")
    alone = command("predict", folder, picture).out
    told = {"pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.3, 0.2, 0.1], "crop_pct": 0.5}}
    (folder / "config.json").write_text(json.dumps(told))
    ended = command("predict", folder, picture)
    assert ended.status == 0 and ended.out != alone
    assert_drawn(folder / "predictions.png")


def test_predict_takes_the_names_of_classes_from_config_json(weights, picture, tmp_path):
    shutil.copy(weights, tmp_path / "model.safetensors")
    named = {str(i): f"thing {i}, as it is called at length" for i in range(1000)}
    made_up = {str(i): f"LABEL_{i}" for i in range(1000)}
    for names in (named, made_up, {"0": "thing"}):
        (tmp_path / "config.json").write_text(json.dumps({"id2label": names}))
        ended = command("predict", tmp_path, picture)
        assert ended.status == 0
        assert ("thing" in ended.out) == (names is named) and "LABEL" not in ended.out
    assert any(name in ended.out for name in imagenet_names(1000))


def test_other_numbers_of_classes_are_numbered(picture, tmp_path):
    ended = command("predict", timm_file(tmp_path / "vit.safetensors", classes=7), picture, "--top", "99")
    assert sorted(re.findall(r"class \d", ended.out)) == [f"class {i}" for i in range(7)]


def test_a_model_without_a_head_shows_where_it_looks(picture, tmp_path):
    ended = command("predict", timm_file(tmp_path / "vit.safetensors", classes=0), picture)
    assert ended.status == 0 and "a.png: no head, no class\n" in ended.out
    assert_drawn(tmp_path / "predictions.png", bars=False)


@pytest.mark.parametrize("changes", [{"registers": 3}, {"distillation": True}, {"registers": 1, "pool": "mean"}])
def test_tokens_that_are_no_patches_are_not_looked_at(changes):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 1), dtype=np.uint8)
    shares = predict.look(model(**changes), image)
    assert shares.shape == (2, 2) and shares.sum() == pytest.approx(1)


def test_many_classes_are_printed_and_some_are_drawn(weights, picture, tmp_path, monkeypatch):
    drawn = []
    bars = predictions._draw_bars
    monkeypatch.setattr(predictions, "_draw_bars", lambda *given: (drawn.append(given[-1]), bars(*given)))
    ended = command("predict", weights, picture, "--top", "1000", "--out", tmp_path / "seen.png")
    assert ended.out.count("%") == 1000 and drawn == [predictions.MOST_BARS]


def test_bad_weights_and_no_pictures(weights, picture, tmp_path):
    refused(r"vit\.safetensors comes from no run.*give picture files", "predict", weights)
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(r"empty is a folder without model\.safetensors", "predict", empty, picture)
    refused(r"no model at .*nowhere", "predict", tmp_path / "nowhere", picture)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights.read_bytes()[:-9])
    refused(r"cut\.safetensors.*cut short", "predict", cut, picture)
    refused(r"no run in", "evaluate", weights)
