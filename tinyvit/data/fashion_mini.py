"""fashion-mini: 12,000 images of Fashion-MNIST that come with the package, so that nothing is downloaded."""

import hashlib
import io
from pathlib import Path

import numpy as np

from tinyvit.data.dataset import Dataset
from tinyvit.data.fashion_mnist import CLASS_NAMES
from tinyvit.errors import InputError

FILE = Path(__file__).parent / "embedded" / "fashion_mini.npz"
SHA256 = "827a122ea391a2659f9c90d7107e6c64cfb6cfa79052169a7fc991d18f14242e"


def load_fashion_mini(path: Path = FILE) -> tuple[Dataset, Dataset]:
    """The embedded (train, test) sets: 10,000 and 2,000 grey images of 28x28, 1,000 and 200 of each class.

    Made by ``make_fashion_mini.py`` from Fashion-MNIST (Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747).
    Raises InputError when the file is missing, cut short or altered.
    """
    reinstall = "reinstall tinyvit, or check the file out again"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the embedded data {path} ({error.strerror}): {reinstall}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise InputError(
            f"the embedded data {path} is altered or cut short: its sha256 is {found[:12]}..., "
            f"expected {SHA256[:12]}...: {reinstall}"
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        train, test = (
            Dataset(
                "fashion-mini",
                arrays[f"{part}_images"][..., np.newaxis],
                arrays[f"{part}_labels"].astype(np.int64),
                CLASS_NAMES,
            )
            for part in ("train", "test")
        )
    return train, test
