"""Makes the embedded data set: ``python -m tinyvit.data.make_fashion_mini``.

Draws a class-balanced subset of Fashion-MNIST at random. (At random, because the first 200 test images of
each class are easier than the rest.) The same zlib writes the same bytes again, any zlib the same arrays.
"""

import argparse
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np

from tinyvit.data.dataset import Dataset
from tinyvit.data.fashion_mini import FILE, SHA256
from tinyvit.data.fashion_mnist import load_fashion_mnist

SEED = 2017
TRAIN_PER_CLASS = 1000
TEST_PER_CLASS = 200


def choose(labels: np.ndarray, per_class: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of ``per_class`` random images of every class, in the order they have in the whole set."""
    drawn = [rng.choice(np.flatnonzero(labels == label), per_class, replace=False) for label in np.unique(labels)]
    return np.sort(np.concatenate(drawn))


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes what np.savez_compressed would, with fixed time stamps: the bytes depend on the data only."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, whatever the platform
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
            archive.writestr(entry, buffer.getvalue(), compresslevel=9)


def make(train: Dataset, test: Dataset, path: Path) -> str:
    """Draws the subset, writes it to ``path`` and returns the sha256 of the file."""
    rng = np.random.default_rng(SEED)
    arrays = {}
    for part, whole, per_class in (("train", train, TRAIN_PER_CLASS), ("test", test, TEST_PER_CLASS)):
        chosen = choose(whole.labels, per_class, rng)
        arrays[f"{part}_images"] = whole.images[chosen, ..., 0]
        arrays[f"{part}_labels"] = whole.labels[chosen].astype(np.uint8)
    write_npz(path, arrays)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the embedded data set fashion-mini from Fashion-MNIST.")
    parser.add_argument("--data-dir", type=Path, help="folder with Fashion-MNIST's four files")
    parser.add_argument("--out", type=Path, default=FILE, help="the .npz file to write (default: %(default)s)")
    options = parser.parse_args()
    digest = make(*load_fashion_mnist(options.data_dir), options.out)
    print(f"{options.out}: {options.out.stat().st_size:,} bytes, sha256 {digest}")
    print("the same as SHA256 in fashion_mini.py" if digest == SHA256 else "SHA256 in fashion_mini.py differs")


if __name__ == "__main__":
    main()
