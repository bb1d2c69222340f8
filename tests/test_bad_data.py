"""Bad data: one line that says what was given and what to do, exit status 2, no traceback.

The lines are matched loosely: a test pins down what the user must learn, not the wording.
"""

import re

import pytest
from small_runs import OPTIONS, pictures, refused

from tinyvit.data import cifar, fashion_mini, fashion_mnist


def test_a_folder_without_classes(home, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(r"empty has no class folders: give at least two", "train", *OPTIONS, "--data", f"folder:{tmp_path}/empty")


def test_a_folder_with_one_class(home, tmp_path):
    pictures(tmp_path / "pets" / "cats")
    refused(r"pets has only the class folder 'cats'", "train", *OPTIONS, "--data", f"folder:{tmp_path}/pets")


def test_a_folder_with_a_class_without_pictures(home, tmp_path):
    pictures(tmp_path / "pets" / "cats")
    (tmp_path / "pets" / "dogs").mkdir()
    refused(r"dogs holds no .*png", "train", *OPTIONS, "--data", f"folder:{tmp_path}/pets")


def test_a_folder_with_a_broken_picture(home, tmp_path):
    pictures(tmp_path / "pets" / "cats")
    pictures(tmp_path / "pets" / "dogs")
    (tmp_path / "pets" / "dogs" / "1.png").write_bytes(b"no picture")
    refused(r"cannot read the picture .*dogs/1\.png", "train", *OPTIONS, "--data", f"folder:{tmp_path}/pets")


@pytest.mark.parametrize("damage", ["cut", "altered"])
def test_damaged_embedded_data(home, tmp_path, monkeypatch, damage):
    content = bytearray(fashion_mini.FILE.read_bytes())
    if damage == "altered":
        content[len(content) // 2] ^= 1
    file = tmp_path / "fashion_mini.npz"
    file.write_bytes(content[:-1] if damage == "cut" else content)
    monkeypatch.setattr(fashion_mini.load_fashion_mini, "__defaults__", (file,))
    refused(r"fashion_mini\.npz is altered or cut short.*reinstall", "train", *OPTIONS)


FILES = {
    "fashion-mnist": [f"{name}.gz" for name in fashion_mnist.SHA256],
    "cifar10": [cifar.CIFAR10.archive.name],
    "cifar100": [cifar.CIFAR100.archive.name],
}


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b half a file", bytes(500)])
@pytest.mark.parametrize("data", ["fashion-mnist", "cifar10", "cifar100"])
def test_damaged_files_of_a_data_set(home, tmp_path, data, content):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in FILES[data]:
        (folder / name).write_bytes(content)
    refused(re.escape(str(folder)), "train", *OPTIONS, "--data", data, "--data-dir", folder)
