"""The commands from end to end."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_runs import EPOCHS, OPTIONS, command, contents, metrics, process

from tinyvit import predict
from tinyvit.models import SIZES, load_model

OWN_FILES = "best.safetensors checkpoint.safetensors config.json curves.png metrics.jsonl model.safetensors".split()
KEYS = "epoch train_loss train_accuracy test_loss test_accuracy learning_rate images_per_second seconds".split()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which a user trained twice without saying where, and what the commands printed."""
    folder = tmp_path_factory.mktemp("home")
    return folder, [process("train", *OPTIONS, folder=folder) for _ in range(2)]


@pytest.fixture
def run(trained) -> Path:
    return trained[0] / "runs" / "nano-fashion-mini"


def picture(path: Path, seed: int = 0) -> Path:
    """A picture file of random colours."""
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def assert_picture(path: Path) -> None:
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert np.asarray(image.convert("L")).std() > 5


def test_training_says_what_it_does(trained):
    out = trained[1][0].out
    assert trained[1][0].status == 0 and trained[1][0].err == ""
    for said in (
        "into runs/nano-fashion-mini\n",
        "CPU, 2 workers",
        "fashion-mini: 300 training and 100 test images, 10 classes",
        "width 16, depth 1, 1 heads, MLP 16: 2,986 parameters",
        "28 px in 4 x 4 patches of 7 px",
        f"{EPOCHS} epochs of 6 steps, batch 50",
        "\nmemory     about ",
        "test accuracy",
        "python -m tinyvit.evaluate runs/nano-fashion-mini",
        "python -m tinyvit.predict runs/nano-fashion-mini",
        *(name for name in OWN_FILES if name != "checkpoint.safetensors"),
    ):
        assert said in out, said
    rows = re.findall(r"^ +(\d+) +\d+\.\d{4} +\d+\.\d\d% +\d+\.\d\d% +\S+ +\d+$", out, re.MULTILINE)
    assert rows == [str(epoch + 1) for epoch in range(EPOCHS)]


def test_training_writes_what_it_promises(run):
    assert sorted(contents(run)) == OWN_FILES
    rows = metrics(run)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert all(list(row) == KEYS for row in rows)
    assert all(row["images_per_second"] > 0 and 0 <= row["test_accuracy"] <= 1 for row in rows)
    assert_picture(run / "curves.png")


def test_a_second_run_takes_a_folder_of_its_own(trained):
    folder, ended = trained
    assert ended[1].status == 0 and "into runs/nano-fashion-mini-2\n" in ended[1].out
    assert sorted(path.name for path in (folder / "runs").iterdir()) == ["nano-fashion-mini", "nano-fashion-mini-2"]


def test_evaluate(run):
    ended = process("evaluate", run)
    assert ended.status == 0 and ended.err == ""
    last = metrics(run)[-1]
    assert f"accuracy {last['test_accuracy']:.2%}, loss {last['test_loss']:.4f}" in ended.out
    rows = re.findall(r"^(\S.*?) +10 +\d+\.\d% +(?:\d+\.\d%|-)$", ended.out, re.MULTILINE)
    assert len(rows) == 10 and "Ankle boot" in rows
    assert_picture(run / "confusion.png")


def test_evaluate_takes_one_of_the_models(run):
    best = max(row["test_accuracy"] for row in metrics(run))
    ended = command("evaluate", run / "best.safetensors")
    assert "best.safetensors on fashion-mini: 100 test images" in ended.out
    assert f"accuracy {best:.2%}" in ended.out


def test_best_is_the_first_of_the_best_epochs(run):
    assert load_model(run / "best.safetensors")[1]["classes"][9] == "Ankle boot"
    accuracies = [row["test_accuracy"] for row in metrics(run)]
    assert (accuracies.index(max(accuracies)) == EPOCHS - 1) == (
        (run / "best.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    )


def test_predict_pictures(run, tmp_path):
    files = [picture(tmp_path / name, seed) for seed, name in enumerate(("a.jpg", "b.png", "c.webp"))]
    ended = process("predict", run, *files, "--top", "3", "--out", tmp_path / "seen.png")
    assert ended.status == 0 and ended.err == ""
    for file in files:
        line = next(line for line in ended.out.splitlines() if line.startswith(f"{file.name}: "))
        shares = [float(share) for share in re.findall(r"(\d+\.\d)%", line)]
        assert len(shares) == 3 and shares == sorted(shares, reverse=True)
    assert str(tmp_path / "seen.png") in ended.out
    assert_picture(tmp_path / "seen.png")


def test_predict_without_pictures_shows_test_images(run):
    ended = command("predict", run)
    assert ended.status == 0
    assert ended.out.count("labelled ") == 4
    assert_picture(run / "predictions.png")


def test_predict_draws_the_first_of_many_pictures(run, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "MOST_DRAWN", 2)
    ended = command("predict", run, *[picture(tmp_path / "a$_$.png")] * 3, "--out", tmp_path / "seen.png")
    assert ended.status == 0 and ended.err == ""
    assert ended.out.count("a$_$.png: ") == 3 and "(the first 2)" in ended.out
    with Image.open(tmp_path / "seen.png") as image:
        assert image.height < 2.5 * image.width / 3


def test_predict_needs_the_model_file_only(run, tmp_path):
    (tmp_path / "mine.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    ended = command("predict", tmp_path / "mine.safetensors", picture(tmp_path / "a.png"), "--top", 99)
    assert ended.status == 0 and ended.out.count("%") == 10


@pytest.mark.parametrize("size", SIZES)
def test_summary_knows_all_sizes(size):
    ended = command("summary", "--size", size)
    assert ended.status == 0 and ended.err == ""
    for said in ("patch embedding", "encoder blocks", "head", "in all", "multiply-adds", "to train with AdamW"):
        assert said in ended.out


def test_summary_of_the_largest_needs_no_memory():
    ended = process("summary", "--size", "huge", "--patch-size", "14")
    assert "632,045,800" in ended.out


@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "summary", "features", "convert"])
def test_help_explains_every_option(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    ended = command(name, "--help")
    assert ended.status == 0
    options = [line for line in ended.out.splitlines() if re.match(r"  -", line)]
    assert options and all(len(line) <= 80 for line in ended.out.splitlines())
    lines = ended.out.splitlines()
    for option in options:
        explained = re.match(r"  -\S.*?  +\S", option) or lines[lines.index(option) + 1].startswith(" " * 20)
        assert explained, f"{option} has no help"


def test_options_reach_the_run(tmp_path):
    options = (
        "--pool mean --position-embedding learned_2d --representation 12 --gelu exact --stochastic-depth 0.1 "
        "--optimizer sgd --lr 0.05 --weight-decay 0.001 --warmup-epochs 0.5 --schedule linear --clip 0 --loss sigmoid "
        "--label-smoothing 0.1 --ema 0 --seed 5 --accumulate 2 --no-flip --shift 2 --random-resized-crop 0.5 1 "
        "--rand-augment 2 5 --erasing 0.2 --cutmix 0.5 --image-size 32 --patch-size 8 --epochs 1 --workers 1"
    ).split()
    folder = tmp_path / "run"
    ended = command("train", *OPTIONS, *options, "--out", folder)
    assert ended.status == 0 and "32 px in 4 x 4 patches of 8" in ended.out
    model, _ = load_model(folder / "model.safetensors")
    assert (model.config.pool, model.config.gelu, model.config.representation) == ("mean", "exact", 12)
    text = (folder / "config.json").read_text()
    for said in ('"optimizer": "sgd"', '"shift": 2', '"flip": false', '"seed": 5', '"clip": 0.0', '"cutmix": 0.5'):
        assert said in text
    assert command("train", "--resume", folder).status == 0
    assert command("evaluate", folder).status == 0
    assert command("predict", folder).status == 0


def test_pictures_in_folders_from_files_to_prediction(tmp_path):
    for index, name in enumerate(("cats", "dogs", "newts")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for seed in range(10):
            picture(tmp_path / "pets" / name / f"{seed}.png", seed=10 * index + seed)
    options = [*OPTIONS, "--data", "folder:pets", "--image-size", "16", "--batch-size", "9"]
    ended = process("train", *options, folder=tmp_path)
    assert ended.status == 0, ended
    run = tmp_path / "runs" / "nano-folder"
    assert "27 training and 3 test images, 3 classes" in ended.out
    # From another folder: the run remembers where its pictures are.
    assert "newts" in command("evaluate", run).out
    assert "dogs" in command("predict", run, tmp_path / "pets" / "cats" / "0.png").out
