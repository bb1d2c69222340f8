"""Fashion-MNIST: the embedded part, and the full set from files."""

import gzip
import hashlib
import shutil

import numpy as np
import pytest

from tinyvit.data import fashion_mini, fashion_mnist, load_dataset, make_fashion_mini
from tinyvit.data.idx import parse_idx
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
    columns = [(train.images[train.labels == label].mean(axis=0) > 40).any(axis=(0, 2)).sum() for label in (1, 8)]
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


NAMES = tuple(fashion_mnist.SHA256)


@pytest.fixture
def small_set(tmp_path, monkeypatch):
    """Four small IDX files, compressed, in a folder; the checksums are made to fit them."""
    rng = np.random.default_rng(0)
    arrays = {name: rng.integers(0, 10, (5, 28, 28) if "images" in name else (5,), dtype=np.uint8) for name in NAMES}
    contents = {
        name: bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
        for name, array in arrays.items()
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    monkeypatch.setattr(
        fashion_mnist, "SHA256", {name: hashlib.sha256(each).hexdigest() for name, each in contents.items()}
    )
    return tmp_path, arrays, contents


@pytest.mark.parametrize("compressed", [True, False])
def test_the_full_set_is_read_from_a_folder(small_set, compressed):
    folder, arrays, contents = small_set
    if not compressed:
        for name, content in contents.items():
            (folder / f"{name}.gz").unlink()
            (folder / name).write_bytes(content)
    train, test = load_dataset("fashion-mnist", data_dir=folder)
    np.testing.assert_array_equal(train.images[..., 0], arrays["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(test.labels, arrays["t10k-labels-idx1-ubyte"])
    assert train.labels.dtype == np.int64 and train.class_names == fashion_mnist.CLASS_NAMES


@pytest.mark.parametrize("damage", ["cut", "altered", "other", "missing"])
def test_a_damaged_file_of_the_full_set_is_named(small_set, damage):
    folder, _, contents = small_set
    path = folder / "train-labels-idx1-ubyte.gz"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    elif damage == "altered":
        content = bytearray(contents["train-labels-idx1-ubyte"])
        content[-1] ^= 1
        path.write_bytes(gzip.compress(content))
    elif damage == "other":
        path.write_bytes(b"<html>not found</html>")
    else:
        path.unlink()
    with pytest.raises(InputError, match="train-labels-idx1-ubyte") as caught:
        load_dataset("fashion-mnist", data_dir=folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_without_a_folder_the_full_set_comes_through_the_cache(small_set, tmp_path, monkeypatch):
    folder, arrays, _ = small_set
    asked = []

    def fetch(file, to):
        asked.append(file.name)
        to.mkdir(parents=True, exist_ok=True)
        return shutil.copy(folder / file.name, to / file.name)

    monkeypatch.setenv("TINYVIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fashion_mnist, "download", fetch)
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "not installed")
    train, _ = load_dataset("fashion-mnist")
    np.testing.assert_array_equal(train.labels, arrays["train-labels-idx1-ubyte"])
    assert sorted(asked) == sorted(f"{name}.gz" for name in NAMES)


@debian
def test_debians_files_are_the_official_data():
    train, test = fashion_mnist.load_fashion_mnist(fashion_mnist.DEBIAN_FOLDER)
    assert train.images.shape == (60_000, 28, 28, 1) and test.images.shape == (10_000, 28, 28, 1)
    assert (np.bincount(train.labels) == 6_000).all() and (np.bincount(test.labels) == 1_000).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file of unsigned bytes with 1 axes"),
        (b"\0\0\x0d\x01" + b"\0" * 12, "it begins with 00 00 0d 01"),
        (b"\0\0\x08\x03" + b"\0" * 12, "with 1 axes"),
        (b"\0\0\x08\x01\0\0\0\x05abcd", "12 bytes, but its header promises 13"),
        (b"\0\0\x08\x01\0\0\0\x05abcdef", "14 bytes, but its header promises 13"),
    ],
)
def test_what_is_no_idx_file_is_refused(content, message):
    with pytest.raises(InputError, match=message):
        parse_idx(content, "some/file", axes=1)
    np.testing.assert_array_equal(parse_idx(b"\0\0\x08\x01\0\0\0\x02ab", "some/file", axes=1), [97, 98])
