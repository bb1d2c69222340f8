"""From a photograph to numbers, and on to an answer: the same as timm's and transformers' code gives."""

import numpy as np
import pytest
from PIL import Image
from published import timm_model, write_torch
from small_runs import command
from test_parity import import_timm

from tinyvit.data import imagenet_names
from tinyvit.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

pytestmark = pytest.mark.parity

data = pytest.importorskip("skimage.data", reason="needs a photograph of scikit-image (extra `parity`)")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> list:
    """A wide JPEG, and a high PNG with a shape that divides nothing evenly."""
    folder = tmp_path_factory.mktemp("photographs")
    Image.fromarray(data.coffee()).save(folder / "coffee.jpg")
    Image.fromarray(data.astronaut()[:, 100:433]).save(folder / "astronaut.png")
    return [folder / "coffee.jpg", folder / "astronaut.png"]


def assert_close(ours: Preprocessing, size: int, file, theirs: np.ndarray) -> None:
    """The same pixels; only the last digits of what is made of them may differ."""
    found = ours.prepare(ours.read(file, size, channels=3)[None])[0]
    np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "crop", "resize", "interpolation", "mean", "std"),
    [
        (224, 0.9, "shorter_side", "bicubic", (0.5,) * 3, (0.5,) * 3),
        (384, 1.0, "shorter_side", "bicubic", (0.5,) * 3, (0.5,) * 3),
        (208, 0.9, "shorter_side", "bicubic", (0.5,) * 3, (0.5,) * 3),  # half a pixel to be rounded up
        (224, 0.875, "shorter_side", "bilinear", IMAGENET_MEAN, IMAGENET_STD),
        (160, 0.95, "stretch", "bicubic", IMAGENET_MEAN, IMAGENET_STD),
    ],
)
def test_timm(photographs, size, crop, resize, interpolation, mean, std):
    transform = import_timm().data.create_transform(
        size,
        interpolation=interpolation,
        mean=mean,
        std=std,
        crop_pct=crop,
        crop_mode="squash" if resize == "stretch" else "center",
    )
    for file in photographs:
        with Image.open(file) as image:
            theirs = transform(image.convert("RGB")).numpy().transpose(1, 2, 0)
        assert_close(Preprocessing(mean, std, resize, crop, interpolation), size, file, theirs)


@pytest.mark.parametrize(
    ("name", "options", "ours"),
    [
        ("ViTImageProcessorPil", {}, Preprocessing((0.5,), (0.5,), "stretch", 1.0, "bilinear")),
        (
            "BitImageProcessorPil",  # what DINOv2's files name
            {
                "size": {"shortest_edge": 256},
                "crop_size": {"height": 224, "width": 224},
                "image_mean": IMAGENET_MEAN,
                "image_std": IMAGENET_STD,
            },
            Preprocessing(IMAGENET_MEAN, IMAGENET_STD, "shorter_side", 224 / 256, "bicubic"),
        ),
        (
            "DeiTImageProcessorPil",
            {"image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD},
            Preprocessing(IMAGENET_MEAN, IMAGENET_STD, "stretch", 224 / 256, "bicubic"),
        ),
    ],
)
def test_hugging_face(photographs, name, options, ours):
    import_timm()  # which sees to torchvision, that transformers resizes with
    transformers = pytest.importorskip("transformers", reason="compares with transformers (extra `parity`)")
    processor = getattr(transformers, name)(**options)
    for file in photographs:
        with Image.open(file) as image:
            theirs = np.asarray(processor(image.convert("RGB"), return_tensors="np")["pixel_values"])[0]
        assert_close(ours, 224, file, theirs.transpose(1, 2, 0))


def test_predict_says_what_timm_says(photographs, tmp_path):
    """The whole way, with random weights: timm's transform and model against one command."""
    import torch

    oracle = timm_model("vit_tiny_patch16_224", depth=3)
    weights = write_torch(oracle, tmp_path / "model.safetensors")
    transform = import_timm().data.create_transform(
        224, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=0.9
    )
    ended = command("predict", weights, *photographs)
    assert ended.status == 0 and ended.err == ""
    for file, line in zip(photographs, ended.out.splitlines(), strict=False):
        with Image.open(file) as image, torch.no_grad():
            shares = oracle(transform(image.convert("RGB"))[None]).softmax(dim=1)[0].numpy()
        best = np.argsort(-shares)[:5]
        assert line == f"{file.name}: " + ", ".join(f"{imagenet_names(1000)[i]} {shares[i]:.1%}" for i in best)
    with Image.open(tmp_path / "predictions.png") as figure:
        assert np.asarray(figure.convert("L")).std() > 20
