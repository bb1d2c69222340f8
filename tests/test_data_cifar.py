"""CIFAR-10 and CIFAR-100 from small files of the official layout."""

import hashlib
import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from tinyvit.data import cifar, load_dataset
from tinyvit.data.cifar import CIFAR10, CIFAR100, CifarFormat, load_cifar
from tinyvit.errors import InputError
from tinyvit.files import cache_folder


class Official:
    """A small CIFAR of random images: its files, and the layout with their checksums."""

    def __init__(self, real: CifarFormat, per_file: int = 6):
        rng = np.random.default_rng(0)
        self.images, self.labels, self.files = [], [], {}
        for name in real.train | real.test:
            images = rng.integers(0, 256, (per_file, 32, 32, 3), dtype=np.uint8)
            labels = rng.integers(0, real.classes, per_file)
            coarse = [rng.integers(0, 20, (per_file, 1))] * (real.label_bytes - 1)
            planes = images.transpose(0, 3, 1, 2).reshape(per_file, -1)
            self.files[name] = np.hstack([*coarse, labels[:, None], planes]).astype(np.uint8).tobytes()
            self.images.append(images)
            self.labels.append(labels)
        self.names = [f"thing_{number}" for number in range(real.classes)]
        self.files[real.class_names] = ("\n".join(self.names) + "\n\n").encode()
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            outside = tarfile.TarInfo("../outside.txt")
            tar.addfile(outside, io.BytesIO())
            link = tarfile.TarInfo(f"{real.folder}/link")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
            for name, content in self.files.items():
                info = tarfile.TarInfo(f"{real.folder}/{name}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        self.tar = buffer.getvalue()
        self.layout = replace(
            real,
            archive=replace(real.archive, size=len(self.tar), md5=hashlib.md5(self.tar).hexdigest()),
            train={name: hashlib.md5(self.files[name]).hexdigest() for name in real.train},
            test={name: hashlib.md5(self.files[name]).hexdigest() for name in real.test},
        )

    def unpack(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)

    def check(self, train, test):
        np.testing.assert_array_equal(train.images, np.concatenate(self.images[:-1]))
        np.testing.assert_array_equal(train.labels, np.concatenate(self.labels[:-1]))
        np.testing.assert_array_equal(test.images, self.images[-1])
        np.testing.assert_array_equal(test.labels, self.labels[-1])
        assert train.class_names == test.class_names == tuple(self.names)


@pytest.fixture(params=[CIFAR10, CIFAR100], ids=["cifar10", "cifar100"])
def official(request):
    return Official(request.param)


def refusal(layout, folder) -> str:
    with pytest.raises(InputError) as caught:
        load_cifar(layout, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_tar_file_is_read_and_nothing_of_it_reaches_the_disk(official, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / official.layout.archive.name).write_bytes(official.tar)
    official.check(*load_cifar(official.layout, folder))
    # Not even "../outside.txt" or the link, which a careless unpacking would have made.
    assert [path.name for path in tmp_path.rglob("*")] == ["data", official.layout.archive.name]


@pytest.mark.parametrize("inside", [True, False])
def test_an_unpacked_folder_is_read(official, tmp_path, inside):
    official.unpack(tmp_path / official.layout.folder)
    official.check(*load_cifar(official.layout, tmp_path / official.layout.folder if inside else tmp_path))


def test_a_damaged_tar_file_is_named(official, tmp_path):
    path = tmp_path / official.layout.archive.name
    path.write_bytes(official.tar[:-100])
    assert f"{path} is altered or cut short" in refusal(official.layout, tmp_path)


@pytest.mark.parametrize("damage", ["cut", "altered", "missing"])
def test_a_damaged_unpacked_file_is_named(official, tmp_path, damage):
    official.unpack(tmp_path)
    path = tmp_path / next(iter(official.layout.train))
    if damage == "missing":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        path.write_bytes(content[:-1] if damage == "cut" else bytes([content[0] ^ 1]) + content[1:])
    assert str(path) in refusal(official.layout, tmp_path)


def test_a_cut_list_of_class_names_is_refused(official, tmp_path):
    official.unpack(tmp_path)
    (tmp_path / official.layout.class_names).write_text("one\ntwo\n")
    message = refusal(official.layout, tmp_path)
    assert f"{official.layout.class_names} of {official.layout.name} is altered: it lists 2 classes" in message


@pytest.mark.parametrize("pickles", ["cifar-10-python.tar.gz", "cifar-10-batches-py", "batches.meta"])
def test_the_python_version_is_refused_unread(tmp_path, pickles):
    (tmp_path / pickles).write_bytes(b"cos\nsystem\n")
    message = refusal(CIFAR10, tmp_path)
    assert pickles in message and "pickles, which can run code" in message
    assert "put cifar-10-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz" in message


def test_an_empty_folder_says_what_to_put_there(tmp_path):
    message = refusal(CIFAR100, tmp_path)
    assert "neither cifar-100-binary.tar.gz nor cifar-100-binary/" in message and f"into {tmp_path}" in message


def test_without_a_folder_the_file_comes_through_the_cache(official, tmp_path, monkeypatch):
    asked = []

    def fetch(file, folder):
        asked.append((file, folder))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file.name).write_bytes(official.tar)
        return folder / file.name

    monkeypatch.setenv("TINYVIT_CACHE", str(tmp_path))
    monkeypatch.setattr(cifar, "download", fetch)
    official.check(*load_cifar(official.layout))
    assert asked == [(official.layout.archive, cache_folder() / official.layout.name)]


def test_both_sets_are_known_by_name(tmp_path):
    for name in ("cifar10", "cifar100"):
        with pytest.raises(InputError, match="holds neither cifar-10"):
            load_dataset(name, data_dir=tmp_path)
