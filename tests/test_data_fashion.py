"""Fashion-MNIST: the embedded part, and the full set from files."""

import numpy as np
import pytest

from tinyvit.data import fashion_mini, fashion_mnist, load_dataset, make_fashion_mini
from tinyvit.errors import InputError

debian = pytest.mark.skipif(
    not fashion_mnist.DEBIAN_FOLDER.exists(), reason="needs Debian's package dataset-fashion-mnist"
)


def test_fashion_mini_is_balanced_and_real():
    train, test = load_dataset("fashion-mini")
    assert train.images.shape == (10_000, 28, 28, 1) and test.images.shape == (2_000, 28, 28, 1)
    assert (np.bincount(train.labels) == 1000).all() and (np.bincount(test.labels) == 200).all()
    assert train.classes == 10 and train.image_size == 28 and train.channels == 1
    assert train.class_names[9] == "Ankle boot"
    # Trousers (1) are narrow and tall, bags (8) wide: the labels belong to the images.
    columns = [
        (train.images[train.labels == label].mean(axis=0) > 40).any(axis=(0, 2)).sum() for label in (1, 8)
    ]
    assert columns[0] < columns[1]


@pytest.mark.parametrize("damage", ["cut", "altered", "missing"])
def test_a_damaged_embedded_file_is_named(tmp_path, damage):
    path = tmp_path / "fashion_mini.npz"
    content = bytearray(fashion_mini.FILE.read_bytes())
    if damage == "cut":
        path.write_bytes(content[:-1000])
    elif damage == "altered":
        content[2_000_000] ^= 1
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"fashion_mini\.npz.*reinstall") as caught:
        fashion_mini.load_fashion_mini(path)
    assert "\n" not in str(caught.value)


@debian
def test_the_script_makes_the_embedded_file_again(tmp_path):
    train, test = fashion_mnist.load_fashion_mnist(fashion_mnist.DEBIAN_FOLDER)
    make_fashion_mini.make(train, test, tmp_path / "again.npz")
    with np.load(tmp_path / "again.npz") as again, np.load(fashion_mini.FILE) as embedded:
        assert again.files == embedded.files
        assert all((again[name] == embedded[name]).all() for name in embedded.files)


def test_writing_an_npz_twice_gives_the_same_bytes(tmp_path):
    arrays = {"images": np.arange(6, dtype=np.uint8), "labels": np.ones((2, 3), np.uint8)}
    make_fashion_mini.write_npz(tmp_path / "a.npz", arrays)
    make_fashion_mini.write_npz(tmp_path / "b.npz", arrays)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as read:
        np.testing.assert_array_equal(read["labels"], arrays["labels"])
