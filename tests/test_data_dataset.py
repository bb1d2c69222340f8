"""Dataset, its balanced subsets, resizing, and data sets by name."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyvit.data import DATASETS, Dataset, load_dataset
from tinyvit.data.resize import resized
from tinyvit.errors import InputError


def labelled(labels, classes=4) -> Dataset:
    labels = np.asarray(labels, np.int64)
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None] + np.zeros((1, 6, 6, 3), np.uint8)
    return Dataset("labelled", images, labels, tuple("abcdefgh"[:classes]))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 80))
def test_a_limited_set_is_as_balanced_as_can_be(labels, count):
    whole = labelled(labels)
    part = whole.limited(count)
    assert len(part) == min(count, len(whole))
    numbers = part.images[:, 0, 0, 0]
    assert (np.diff(numbers.astype(int)) > 0).all()  # no image twice, the order of the whole set
    np.testing.assert_array_equal(part.labels, whole.labels[numbers])
    had, got = (np.bincount(these.labels, minlength=4) for these in (whole, part))
    for label in range(4):  # a class has fewer images than the largest one only when it has no more
        assert got[label] >= got.max() - 1 or got[label] == had[label]
    np.testing.assert_array_equal(whole.limited(count).images, part.images)


def test_a_limited_set_is_drawn_at_random_not_from_the_start():
    part = labelled([0, 1] * 50, classes=2).limited(20)
    assert part.images[:, 0, 0, 0].max() >= 50


def test_a_limit_below_one_is_refused():
    with pytest.raises(InputError, match="to 0 images: give a count of at least 1"):
        labelled([0, 1]).limited(0)


def test_properties():
    data = labelled([0, 1, 2])
    assert (len(data), data.classes, data.image_size, data.channels) == (3, 4, 6, 3)
    with pytest.raises(AttributeError):
        data.name = "other"
    oblong = Dataset("oblong", np.zeros((1, 4, 6, 1), np.uint8), np.zeros(1, np.int64), ("a",))
    with pytest.raises(InputError, match="'oblong' are 4x6; expected square"):
        _ = oblong.image_size


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 4, 4)), [0, 0], "expected uint8"),
        (np.zeros((2, 4, 4, 1), np.float32), [0, 0], "images are float32"),
        (np.zeros((2, 4, 4, 1), np.uint8), [0, 0, 0], r"labels are int64 \(3,\); expected int64 \(2,\)"),
        (np.zeros((2, 4, 4, 1), np.uint8), [0, 2], "labels run from 0 to 2; expected 0 to 1"),
        (np.zeros((2, 4, 4, 1), np.uint8), [-1, 1], "labels run from -1 to 1; expected 0 to 1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(images, labels, message):
    with pytest.raises(ValueError, match=message):
        Dataset("wrong", images, np.array(labels), ("a", "b"))


@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_keeps_what_the_images_show(channels):
    # Left half dark, right half light.
    images = np.full((3, 16, 16, channels), 40, np.uint8)
    images[:, :, 8:] = 200
    data = Dataset("halves", images, np.zeros(3, np.int64), ("a",))
    assert resized(data, 16) is data
    for size in (5, 40):
        other = resized(data, size).images
        assert other.shape == (3, size, size, channels) and other.dtype == np.uint8
        assert (other[:, :, 0] == 40).all() and (other[:, :, -1] == 200).all()


def test_shrinking_is_antialiased():
    stripes = np.zeros((1, 64, 64, 1), np.uint8)
    stripes[:, :, ::2] = 255
    small = resized(Dataset("stripes", stripes, np.zeros(1, np.int64), ("a",)), 16).images
    assert (np.abs(small[:, :, 2:-2].astype(int) - 127) < 10).all()


def test_data_sets_by_name():
    train, test = load_dataset("fashion-mini", image_size=14)
    assert train.image_size == test.image_size == 14
    with pytest.raises(InputError, match=r"did you mean 'fashion-mini'.*known are fashion-mini, fashion-mnist"):
        load_dataset("fashionmini")
    with pytest.raises(InputError, match="image size is 0 pixels"):
        load_dataset("fashion-mini", image_size=0)
    assert DATASETS[0] == "fashion-mini" and "cifar100" in DATASETS


@pytest.mark.parametrize("name", ["fashion-mini", "folder:somewhere"])
def test_a_data_folder_for_a_set_that_takes_none_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=f"'{name}' says itself where it is"):
        load_dataset(name, data_dir=tmp_path)


def test_importing_the_package_stays_light():
    program = "import sys, tinyvit.data; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    for heavy in ("PIL", "tqdm", "matplotlib", "cupy", "urllib.request"):
        assert heavy not in modules.split()
