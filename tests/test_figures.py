"""Every figure is a PNG with something on it."""

import errno
import os

import numpy as np
import pytest
from PIL import Image

from tinyvit.analysis import draw_confusion, draw_curves, draw_predictions
from tinyvit.errors import InputError


def drawn(path) -> np.ndarray:
    """The picture (H, W, 3); at least 1 % of it is not background."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) > 200
    assert (pixels.min(axis=2) < 230).mean() > 0.01, "almost blank"
    return pixels


def history(epochs: int) -> list[dict]:
    return [
        {
            "epoch": epoch + 1,
            "train_loss": 2 / (epoch + 1),
            "test_loss": 2.1 / (epoch + 1),
            "train_accuracy": epoch / epochs,
            "test_accuracy": epoch / epochs,
        }
        for epoch in range(epochs)
    ]


@pytest.mark.parametrize("epochs", [1, 2, 40])
def test_curves(tmp_path, epochs):
    draw_curves(history(epochs), tmp_path / "curves.png")
    drawn(tmp_path / "curves.png")


@pytest.mark.parametrize("classes", [2, 10, 60])
def test_confusion(tmp_path, classes):
    counts = np.random.default_rng(0).integers(0, 9, (classes, classes)) + 20 * np.eye(classes, dtype=int)
    counts[0] = 0  # a class without test images
    draw_confusion(counts, [f"class {i}" for i in range(classes)], tmp_path / "confusion.png")
    drawn(tmp_path / "confusion.png")


@pytest.mark.parametrize("count, channels, classes", [(1, 3, 2), (3, 1, 10)])
def test_predictions(tmp_path, count, channels, classes):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 16, 16, channels), dtype=np.uint8)
    looks = random.dirichlet(np.ones(16), count).reshape(count, 4, 4)
    probabilities = random.dirichlet(np.ones(classes), count)
    names = ["a name that is too long to stand above a picture.png"] * count
    classes = [f"class {i}" for i in range(classes)]
    draw_predictions(names, images, looks, probabilities, classes, 5, tmp_path / "out.png")
    drawn(tmp_path / "out.png")


def test_a_full_disk_keeps_the_picture_before(tmp_path, monkeypatch):
    path = tmp_path / "curves.png"
    draw_curves(history(2), path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot write .*curves\.png: No space left"):
        draw_curves(history(3), path)
    assert path.read_bytes() == before
