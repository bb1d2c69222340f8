"""The names of ImageNet's classes."""

import gzip

import pytest

from tinyvit.data import imagenet, imagenet_names
from tinyvit.data.make_imagenet_names import names
from tinyvit.errors import InputError


def test_the_thousand_classes_in_their_order():
    found = imagenet_names(1000)
    assert len(set(found)) == 1000
    known = {0: "tench", 1: "goldfish", 207: "golden retriever", 281: "tabby", 504: "coffee mug", 812: "space shuttle"}
    assert {number: found[number] for number in known} == known
    assert (found[134], found[517], found[999]) == ("crane (animal)", "crane (artifact)", "toilet tissue")


def test_all_of_imagenet():
    found = imagenet_names(21843)
    assert len(found) == 21843 and found[0] == "organism" and all(found)


def test_other_models_have_other_classes():
    assert imagenet_names(10) is None


@pytest.mark.parametrize("content", [b"", b"no archive", gzip.compress(b"tench\n"), gzip.compress(b"\xff")])
def test_a_damaged_file(tmp_path, monkeypatch, content):
    (tmp_path / "names.txt.gz").write_bytes(content)
    monkeypatch.setitem(imagenet.FILES, 1000, tmp_path / "names.txt.gz")
    with pytest.raises(InputError, match=r"names\.txt\.gz.*reinstall"):
        imagenet_names(1000)


def test_how_names_are_made():
    lines = ("05 n 02 crane 0 grus 0", "06 n 01 crane 0", "05 n 01 great_auk 0", "06 n 01 great 0")
    data, ids = b"", []
    for line in lines:
        ids.append(f"n{len(data):08}")
        data += f"{len(data):08} {line} 000 | an entry\n".encode()
    assert names(data, ids) == ["crane (grus)", "crane (artifact)", "great auk", "great"]
    with pytest.raises(SystemExit, match="no noun n00000003"):
        names(data, ["n00000003"])
