"""folder:PATH: which pictures are found, how they are decoded, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from tinyvit.data import folder, load_dataset
from tinyvit.data.folder import load_folder
from tinyvit.data.picture import read_picture
from tinyvit.errors import InputError

COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


def paint(root, counts, suffix=".png", size=(40, 30)):
    """A class folder of plain pictures for each colour name."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", size, COLOURS[name]).save(root / name / f"{number:03}{suffix}")


def check_colours(data):
    for image, label in zip(data.images, data.labels, strict=True):
        expected = COLOURS[data.class_names[label]]
        np.testing.assert_allclose(image.astype(int), np.broadcast_to(expected, image.shape), atol=6)


def refusal(path) -> str:
    with pytest.raises(InputError) as caught:
        load_folder(path, 8)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("test_name", ["test", "val", "valid", "validation"])
def test_train_and_test_folders(tmp_path, test_name):
    paint(tmp_path / "train", {"red": 3, "blue": 2})
    paint(tmp_path / test_name, {"red": 1, "blue": 2})
    train, test = load_dataset(f"folder:{tmp_path}")
    assert train.images.shape == (5, 64, 64, 3) and test.images.shape == (3, 64, 64, 3)
    assert train.class_names == test.class_names == ("blue", "red")
    assert train.labels.tolist() == [0, 0, 1, 1, 1] and test.labels.tolist() == [0, 0, 1]
    check_colours(train)
    check_colours(test)


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".png", ".webp"])
def test_a_tenth_of_each_class_is_set_aside_where_there_is_no_test_set(tmp_path, suffix):
    paint(tmp_path, {"red": 30, "green": 20, "blue": 2}, suffix)
    (tmp_path / "red" / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "red" / ".hidden.png").write_text("not a picture")
    train, test = load_dataset(f"folder:{tmp_path}", image_size=8)
    assert np.bincount(train.labels).tolist() == [1, 18, 27] and np.bincount(test.labels).tolist() == [
        1,
        2,
        3,
    ]
    check_colours(train)
    check_colours(test)


def test_the_split_is_the_same_each_time_and_shares_no_picture(tmp_path):
    paint(tmp_path, {"red": 25, "blue": 25})
    first, second = (folder._find(tmp_path) for _ in range(2))
    assert first == second
    train, test = first
    for name in ("red", "blue"):
        assert sorted(train[name] + test[name]) == sorted((tmp_path / name).iterdir())
        assert test[name] != sorted((tmp_path / name).iterdir())[:2]


def test_a_class_may_be_called_train(tmp_path):
    paint(tmp_path, {"red": 2, "blue": 2})
    (tmp_path / "red").rename(tmp_path / "train")
    assert load_folder(tmp_path, 8)[0].class_names == ("blue", "train")


def test_a_picture_is_resized_on_its_short_side_and_cropped_to_its_centre(tmp_path):
    # Three bands, 30 wide each: the centre square of the 90x30 picture is the middle band.
    bands = np.repeat(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8), 30, axis=1).repeat(30, axis=0)
    Image.fromarray(bands).save(tmp_path / "wide.png")
    Image.fromarray(bands.transpose(1, 0, 2)).save(tmp_path / "high.png")
    for name in ("wide.png", "high.png"):
        np.testing.assert_array_equal(
            read_picture(tmp_path / name, 10, channels=3)[2:-2, 2:-2], np.tile([0, 255, 0], (6, 6, 1))
        )


def test_a_picture_taken_sideways_is_turned_upright(tmp_path):
    upright = np.zeros((40, 40, 3), np.uint8)
    upright[:20] = 255  # light above
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees clockwise to see it upright"
    Image.fromarray(np.rot90(upright)).save(tmp_path / "sideways.jpg", exif=exif)
    seen = read_picture(tmp_path / "sideways.jpg", 20, channels=3)
    assert seen[:8].min() > 240 and seen[-8:].max() < 15


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16"])
def test_every_kind_of_pixel_becomes_rgb(tmp_path, mode):
    grey = np.full((20, 20), 255, np.uint8)
    grey[:, :10] = 0
    image = Image.fromarray(grey.astype(np.uint16) * 200) if mode == "I;16" else Image.fromarray(grey).convert(mode)
    path = tmp_path / ("picture.jpg" if mode == "CMYK" else "picture.png")
    image.save(path)
    seen = read_picture(path, 20, channels=3)
    light = 255 * 200 // 256 if mode == "I;16" else 255
    assert seen.shape == (20, 20, 3) and seen.dtype == np.uint8
    assert seen[:, 1:8].max() < 10 and abs(seen[:, 12:19].astype(int) - light).max() < 10


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_broken_picture_is_named(tmp_path, damage):
    paint(tmp_path, {"red": 3, "blue": 3}, ".jpg", size=(300, 300))
    path = tmp_path / "blue" / "001.jpg"
    path.write_bytes({"cut": path.read_bytes()[:700], "text": b"not a picture", "empty": b""}[damage])
    message = refusal(tmp_path)
    assert f"cannot read the picture {path}" in message and "repair or remove it" in message


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    paint(tmp_path, {"red": 2, "blue": 2})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    message = refusal(tmp_path)
    assert "cannot read the picture" in message and "decompression bomb" in message


def test_what_is_no_set_of_classes_is_refused(tmp_path):
    assert "is not a folder" in refusal(tmp_path / "nowhere")
    assert "has no class folders: give at least two" in refusal(tmp_path)
    paint(tmp_path, {"red": 2})
    assert "has only the class folder 'red': give at least two" in refusal(tmp_path)
    (tmp_path / "blue").mkdir()
    assert f"class folder {tmp_path / 'blue'} holds no .jpg" in refusal(tmp_path)
    Image.new("RGB", (9, 9)).save(tmp_path / "blue" / "one.png")
    assert "class 'blue' has only" in refusal(tmp_path)


def test_a_train_folder_needs_a_test_folder_with_the_same_classes(tmp_path):
    paint(tmp_path / "train", {"red": 2, "blue": 2})
    assert "has train/ but no test set" in refusal(tmp_path)
    paint(tmp_path / "val", {"red": 2, "green": 2})
    assert "must hold the same classes: only one of them has blue, green" in refusal(tmp_path)
