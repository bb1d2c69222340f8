"""Files that are whole or not there at all."""

import errno
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from tinyvit.errors import InputError
from tinyvit.files import read_tensors, write_atomically, write_tensors, write_text

TENSORS = {
    "blocks.0.weight": np.arange(60, dtype=np.float32).reshape(5, 12),
    "head.bias": np.array([1.5, -2.5]),
    "count": np.array(7),
}
METADATA = {"config": {"width": 12}, "classes": ["ä", "b"], "rate": 0.1}


@pytest.fixture
def path(tmp_path):
    written = tmp_path / "model.safetensors"
    write_tensors(written, TENSORS, METADATA)
    return written


def refused(path) -> str:
    """The one line with which a file is refused; it names the file."""
    with pytest.raises(InputError) as caught:
        read_tensors(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


def test_what_is_written_is_read(path):
    tensors, metadata = read_tensors(path)
    assert metadata == METADATA
    assert tensors.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(tensors[name], array)
        assert tensors[name].dtype == array.dtype


def test_the_same_content_gives_the_same_bytes(path, tmp_path):
    again = tmp_path / "again.safetensors"
    shuffled = {name: np.asfortranarray(TENSORS[name]) for name in reversed(TENSORS)}
    write_tensors(again, shuffled, METADATA)
    assert again.read_bytes() == path.read_bytes()


def test_others_may_read_what_the_umask_allows(path, tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    assert path.stat().st_mode == plain.stat().st_mode


def test_nothing_is_left_beside_the_file(path):
    assert os.listdir(path.parent) == [path.name]


class Interrupted(Exception):
    """Any error of the code that writes."""


def test_an_error_in_the_middle_leaves_the_old_file(path):
    before = path.read_bytes()

    def write(temporary):
        temporary.write_text("half")
        raise Interrupted

    with pytest.raises(Interrupted):
        write_atomically(path, write)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(path, monkeypatch, call):
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(InputError, match=r"cannot write .*model\.safetensors: No space left.*before it is kept"):
        write_tensors(path, {"other": np.zeros(3)}, {})
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_full_disk_at_the_first_writing_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(InputError, match="nothing was kept"):
        write_text(tmp_path / "config.json", "{}")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs setrlimit")
@pytest.mark.parametrize(
    "call", ["files.write_tensors(path, {'w': np.ones(10000)}, {})", "files.write_text(path, 'x' * 9999)"]
)
def test_a_limit_of_the_system_is_an_error_of_one_line(path, call):
    """No mock: the kernel lets no file of this process grow beyond 4 kB, as if the disk were full."""
    before = path.read_bytes()
    script = f"""
import resource, sys
from pathlib import Path
import numpy as np
from tinyvit import files
from tinyvit.errors import InputError
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
path = Path(sys.argv[1])
try:
    {call}
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert "cannot write" in done.stdout and str(path) in done.stdout and "is kept" in done.stdout
    assert done.stdout.count("\n") == 1 and done.stderr == ""
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot write .*nowhere.*No such file"):
        write_text(tmp_path / "nowhere" / "config.json", "{}")


def test_a_file_cut_short_at_any_place_is_refused(path):
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        refused(path)
    path.write_bytes(content + b"\0")
    refused(path)


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_a_byte_altered_anywhere_is_refused_or_changes_nothing(path, bit):
    content = path.read_bytes()
    survivors = 0
    for place in range(len(content)):
        altered = bytearray(content)
        altered[place] ^= 1 << bit
        path.write_bytes(altered)
        try:
            tensors, metadata = read_tensors(path)
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            continue
        # Only where two spellings mean the same, such as the blanks that fill up the header.
        survivors += 1
        assert metadata == METADATA
        assert all(np.array_equal(tensors[name], array) for name, array in TENSORS.items())
    assert survivors <= 8


def test_a_tensor_of_another_name_or_shape_is_refused(path):
    content = path.read_bytes()
    for old, new in ((b"head.bias", b"head.bies"), (b"[5,12]", b"[12,5]"), (b'"F32"', b'"I32"')):
        assert old in content
        path.write_bytes(content.replace(old, new))
        assert "altered" in refused(path)


class Trap:
    """Unpickling it fails the test."""

    def __reduce__(self):
        return (pytest.fail, ("the pickle was run",))


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_unread(path, protocol):
    path.write_bytes(pickle.dumps(Trap(), protocol))
    assert "is a pickle" in refused(path)


def test_a_pytorch_archive_is_called_a_pickle(path):
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    assert "is a pickle" in refused(path)


@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480, 0x0580, 0x4B50])
def test_a_header_as_long_as_a_pickle_begins_is_no_pickle(path, length):
    """A safetensors file begins with its header's length: these lengths are the first bytes of pickles."""
    short = int.from_bytes(path.read_bytes()[:8], "little")
    metadata = {**METADATA, "filler": "x" * (length - short - 18)}
    write_tensors(path, TENSORS, metadata)
    assert path.read_bytes()[:8] == length.to_bytes(8, "little")
    assert read_tensors(path)[1] == metadata


def test_tensors_of_another_program_are_refused(path):
    save_file({"weight": np.ones(3)}, path, metadata={"format": "pt"})
    assert "was not written by tinyvit" in refused(path)
    save_file({"weight": np.ones(3)}, path)
    assert "was not written by tinyvit" in refused(path)


@pytest.mark.parametrize("entry", ["", "[]", "1", '"text"', "{}", '{"sha256": 1}', "nul"])
def test_metadata_that_make_no_sense_are_refused(path, entry):
    save_file({"weight": np.ones(3)}, path, metadata={"tinyvit": entry})
    assert "altered" in refused(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "No such file" in refused(tmp_path / "none.safetensors")
    assert "directory" in refused(tmp_path)


@pytest.mark.parametrize("content", [b"", b"x", b"text, no tensors\n" * 20, b"\xff" * 64])
def test_any_other_file_is_refused(path, content):
    path.write_bytes(content)
    assert "cut short or no safetensors file" in refused(path)
