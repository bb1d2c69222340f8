"""Fashion-MNIST in full: 60,000 + 10,000 grey images of clothes (Xiao et al. 2017, arXiv:1708.07747)."""

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np

from tinyvit.data.dataset import Dataset
from tinyvit.data.download import RemoteFile, download
from tinyvit.data.idx import parse_idx
from tinyvit.errors import InputError
from tinyvit.files import cache_folder

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist

GZIP_FILES = (
    ("train-images-idx3-ubyte.gz", 26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    ("train-labels-idx1-ubyte.gz", 29_515, "25c81989df183df01b3e8a0aad5dffbe"),
    ("t10k-images-idx3-ubyte.gz", 4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
    ("t10k-labels-idx1-ubyte.gz", 5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
)
REMOTE_FILES = tuple(
    RemoteFile(
        name,
        urls=(
            f"http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/{name}",
            f"https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/{name}",
        ),
        size=size,
        md5=md5,
    )
    for name, size, md5 in GZIP_FILES
)

# sha256 of the decompressed bytes, because distributors compress the files anew.
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def load_fashion_mnist(data_dir: Path | None = None) -> tuple[Dataset, Dataset]:
    """The (train, test) sets of 28x28 grey images.

    data_dir: a folder with the four IDX files, compressed (.gz) or not; None means the folder of Debian's
    package, or else the cache, and a download if need be.
    Raises InputError for a missing, altered or cut file.
    """
    folder = data_dir or (DEBIAN_FOLDER if DEBIAN_FOLDER.is_dir() else _downloaded())
    return _read_part(folder, "train"), _read_part(folder, "t10k")


def _downloaded() -> Path:
    folder = cache_folder() / "fashion-mnist"
    for file in REMOTE_FILES:
        download(file, folder)
    return folder


def _read_part(folder: Path, part: str) -> Dataset:
    images = parse_idx(*_read(folder, f"{part}-images-idx3-ubyte"), axes=3)
    labels = parse_idx(*_read(folder, f"{part}-labels-idx1-ubyte"), axes=1)
    return Dataset("fashion-mnist", images[..., np.newaxis], labels.astype(np.int64), CLASS_NAMES)


def _read(folder: Path, name: str) -> tuple[bytes, Path]:
    """The checked, decompressed content of the file ``name`` or ``name``.gz, and which file it was."""
    path = next((file for file in (folder / f"{name}.gz", folder / name) if file.exists()), None)
    if path is None:
        raise InputError(f"{folder} holds neither {name}.gz nor {name}: put Fashion-MNIST's four files there")
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {path} ({error}): delete it and get it again") from None
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256[name]:
        raise InputError(
            f"{path} is altered or cut short: the data's sha256 is {found[:12]}..., expected "
            f"{SHA256[name][:12]}...: delete it and get it again"
        )
    return content, path
