"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 50,000 + 10,000 colour images of 32x32, in the binary version.

The files are read straight out of the tar file, so nothing is ever unpacked onto the disk.
"""

import hashlib
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyvit.data.dataset import Dataset
from tinyvit.data.download import RemoteFile, download, md5_of
from tinyvit.errors import InputError
from tinyvit.files import cache_folder

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class CifarFormat:
    """How one of the two sets is laid out.

    train, test: file name -> MD5. class_names: the file that lists them, one a line. Each record in a file is
    ``label_bytes`` labels, of which the last is the one to learn, then the red, green and blue planes.
    """

    name: str
    archive: RemoteFile
    folder: str
    train: dict[str, str]
    test: dict[str, str]
    class_names: str
    classes: int
    label_bytes: int


CIFAR10 = CifarFormat(
    name="cifar10",
    archive=RemoteFile(
        name="cifar-10-binary.tar.gz",
        urls=("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
        size=170_052_171,
        md5="c32a1d4ab5d03f1284b67883e8d87530",
    ),
    folder="cifar-10-batches-bin",
    train={
        "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
        "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
        "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
        "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
        "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    },
    test={"test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d"},
    class_names="batches.meta.txt",
    classes=10,
    label_bytes=1,
)

CIFAR100 = CifarFormat(
    name="cifar100",
    archive=RemoteFile(
        name="cifar-100-binary.tar.gz",
        urls=("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",),
        size=168_513_733,
        md5="03b5dce01913d631647c71ecec9e9cb8",
    ),
    folder="cifar-100-binary",
    train={"train.bin": "6172c7755cfe09b2fe270c85cebc1b15"},
    test={"test.bin": "4499cfba6c016c1be1438163640a0898"},
    class_names="fine_label_names.txt",
    classes=100,
    label_bytes=2,  # the coarse label, then the fine one
)


def load_cifar(layout: CifarFormat, data_dir: Path | None = None) -> tuple[Dataset, Dataset]:
    """The (train, test) sets of 32x32 colour images.

    data_dir: a folder with the tar file or with what it unpacks to; None means the cache, and a download if
    need be. Raises InputError for a missing, altered or cut file, and for the Python version, of pickles.
    """
    folder = data_dir or cache_folder() / layout.name
    unpacked = next((f for f in (folder / layout.folder, folder) if (f / layout.class_names).is_file()), None)
    if unpacked is not None:
        return _load(layout, lambda name: _read_file(layout, unpacked / name))
    archive = folder / layout.archive.name
    if data_dir is None:
        archive = download(layout.archive, folder)
    elif not archive.is_file():
        raise _nothing_to_read(layout, folder)
    if (found := md5_of(archive)) != layout.archive.md5:
        raise InputError(
            f"{archive} is altered or cut short: its MD5 is {found}, expected {layout.archive.md5}: "
            f"delete it and get it again from {layout.archive.urls[0]}"
        )
    # One pass from front to back: to seek in a compressed file means to decompress it again.
    with tarfile.open(archive, "r|gz") as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar if member.isreg()}
    return _load(layout, lambda name: files[f"{layout.folder}/{name}"])


def _load(layout: CifarFormat, read: Callable[[str], bytes]) -> tuple[Dataset, Dataset]:
    class_names = tuple(read(layout.class_names).decode(errors="replace").split())
    if len(class_names) != layout.classes:
        raise InputError(
            f"{layout.class_names} of {layout.name} is altered: it lists {len(class_names)} classes, "
            f"expected {layout.classes}: unpack {layout.archive.name} again"
        )
    return tuple(
        Dataset(layout.name, *_parse(b"".join(read(name) for name in names), layout.label_bytes), class_names)
        for names in (layout.train, layout.test)
    )


def _parse(content: bytes, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 32, 32, 3) and labels (N,) from records of labels and colour planes."""
    records = np.frombuffer(content, np.uint8).reshape(-1, label_bytes + PIXELS)
    planes = records[:, label_bytes:].reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, label_bytes - 1].astype(np.int64)


def _read_file(layout: CifarFormat, path: Path) -> bytes:
    """An unpacked file's content, checked where its MD5 is known (the list of class names has none)."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}): unpack {layout.archive.name} again") from None
    expected = (layout.train | layout.test).get(path.name)
    if expected and hashlib.md5(content, usedforsecurity=False).hexdigest() != expected:
        raise InputError(f"{path} is altered or cut short: unpack {layout.archive.name} again")
    return content


def _nothing_to_read(layout: CifarFormat, folder: Path) -> InputError:
    wanted = f"put {layout.archive.name} from {layout.archive.urls[0]} into {folder}"
    pickles = [*folder.glob("cifar-*-py*"), *folder.glob("batches.meta"), *folder.glob("meta")]
    if pickles:
        return InputError(f"{pickles[0]} is of the Python version, made of pickles, which can run code: {wanted}")
    return InputError(f"{folder} holds neither {layout.archive.name} nor {layout.folder}/: {wanted}")
