"""Preprocessing next to timm's and transformers' on a photograph: the same numbers, to the rounding of a pixel."""

import numpy as np
import pytest
from PIL import Image
from test_parity import import_timm

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
    """Equal but for the rounding of a pixel to a whole number of 0 to 255."""
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
