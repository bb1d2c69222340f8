"""Preprocessing: today's numbers by default, its values checked, and back from a file as it was."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image, ImageOps
from small_models import model

from tinyvit.data import Dataset, read_picture
from tinyvit.errors import InputError
from tinyvit.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from tinyvit.training import evaluate
from tinyvit.training.workers import Workers

OTHER = Preprocessing(IMAGENET_MEAN, IMAGENET_STD, "shorter_side", 0.875, "bilinear")


def picture(path, width=90, height=61):
    """A smooth picture file, wider than high."""
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([2 * columns, 4 * rows, 255 - columns - rows], axis=-1)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def test_defaults_are_the_numbers_that_models_were_trained_on():
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3), dtype=np.uint8)
    expected = images.astype(np.float32) / np.float32(127.5) - np.float32(1)
    prepared = Preprocessing().prepare(images)
    assert prepared.dtype == np.float32 and prepared.flags.c_contiguous
    np.testing.assert_array_equal(prepared, expected)


def test_defaults_are_the_pixels_that_models_were_trained_on(tmp_path):
    file = picture(tmp_path / "a.png")
    with Image.open(file) as image:
        expected = np.asarray(ImageOps.fit(image, (24, 24), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(Preprocessing().read(file, 24, channels=3), expected)


def test_each_channel_has_its_mean_and_std():
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    expected = (images / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    np.testing.assert_allclose(OTHER.prepare(images), expected, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="1 channels"):
        OTHER.prepare(images[..., :1])


def test_shorter_side_keeps_the_shape_and_stretch_does_not(tmp_path):
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 20:60] = 255  # the centre square is white
    Image.fromarray(pixels).save(tmp_path / "a.png")
    white = {
        resize: (Preprocessing(resize=resize, interpolation="bilinear").read(tmp_path / "a.png", 20, 3) > 200).mean()
        for resize in ("centre_square", "shorter_side", "stretch")
    }
    assert white["centre_square"] == 1 and white["shorter_side"] >= 0.95 and 0.45 <= white["stretch"] <= 0.55


@pytest.mark.parametrize("resize", ["centre_square", "shorter_side", "stretch"])
def test_crop_is_a_share_of_a_whole_number_of_pixels(tmp_path, resize):
    file = picture(tmp_path / "a.png")
    ours = dataclasses.replace(OTHER, resize=resize, crop=384 / 450)  # 384 over it is a little less than 450
    expected = read_picture(file, 384, 1, resize, 450, "bilinear")
    assert expected.shape == (384, 384, 1)
    np.testing.assert_array_equal(ours.read(file, 384, 1), expected)


def test_survives_json():
    assert Preprocessing.from_dict(json.loads(json.dumps(dataclasses.asdict(OTHER)))) == OTHER


def test_evaluation_prepares_images_as_the_config_says():
    """Twice the brightness of half the pixels is the same to a model that was trained on one of them."""
    images = np.random.default_rng(0).integers(0, 128, (6, 8, 8, 1), dtype=np.uint8)
    losses = []
    for pixels, preprocessing in ((images, Preprocessing((0.25,), (0.25,))), (2 * images, Preprocessing())):
        data = Dataset("random", pixels, np.arange(6) % 5, tuple("abcde"))
        with Workers(1) as workers:
            losses.append(evaluate(model(preprocessing=preprocessing), data, workers).loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and losses[0] != pytest.approx(np.log(5), rel=1e-3)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"mean": ()}, r"mean is \(\)"),
        ({"mean": ("a",)}, "mean is"),
        ({"mean": [[1.0]]}, "mean is"),
        ({"std": (0.0,)}, "std is .*more than 0"),
        ({"std": (float("nan"),)}, "std is"),
        ({"mean": IMAGENET_MEAN}, "same length"),
        ({"crop": 0.0}, "crop is 0.0"),
        ({"crop": 1.5}, "crop is 1.5"),
        ({"crop": "much"}, "crop is 'much'"),
        ({"resize": "strech"}, "did you mean 'stretch'"),
        ({"interpolation": "nearest"}, "known are bilinear, bicubic"),
        ({"sharpen": 1}, "unknown preprocessing field 'sharpen'"),
    ],
)
def test_bad_values(values, expected):
    with pytest.raises(InputError, match=expected):
        Preprocessing.from_dict(values)
