"""python -m tinyvit.features: what a model makes of every picture in a folder, as numbers for other programs."""

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tinyvit import checkpoints, commands
from tinyvit.autograd import no_grad
from tinyvit.data.folder import SUFFIXES
from tinyvit.device import CPU, Device, to_numpy
from tinyvit.errors import InputError
from tinyvit.files import write_atomically
from tinyvit.models import ViT
from tinyvit.training.workers import Workers, available_cores, split

BATCH_SIZE = 16  # pictures at a time: enough for fast matrix products, few enough for a large model's memory

DESCRIPTION = """\
Write what a model makes of every picture in a folder, before its head, to an .npz file with these arrays:
names (B,), each picture's path below FOLDER, in alphabetical order; and features (B, D) float32, the class token after
the last layer norm (with DeiT's distillation token, the mean of both) or, in a model without one, the mean over the
patches. Pictures are the .jpg, .jpeg, .png and .webp
files in FOLDER and all folders below it."""


def main() -> None:
    parser = commands.Parser(prog="python -m tinyvit.features", description=DESCRIPTION)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help=checkpoints.HELP)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of pictures")
    parser.add_argument(
        "-o", "--out", type=Path, metavar="FILE", default=Path("features.npz"), help="default features.npz"
    )
    commands.add_device(parser)
    given = parser.parse_args()
    device = commands.pick_device(given.device)
    files = find_pictures(given.folder)
    check_writable(given.out)
    model = checkpoints.open_model(given.checkpoint).model.to(device)
    features = compute(model, files, device)
    names = np.array([file.relative_to(given.folder).as_posix() for file in files])
    write_npz(given.out, names=names, features=features)
    print(f"{len(files):,} pictures, {features.shape[1]} features each: {given.out}")


def find_pictures(folder: Path) -> list[Path]:
    """The picture files below a folder, in the order of their paths.

    Raises:
        InputError: no folder, or none in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give one of pictures")
    files = [file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file()]
    if not files:
        raise InputError(f"{folder} holds no pictures: give a folder with {', '.join(SUFFIXES)} files")
    return sorted(files)


def check_writable(out: Path) -> None:
    """Refuse, before any work is done, a file that could not be written at the end.

    Raises:
        InputError: the folder is missing or not to be written to, or ``out`` is a folder.
    """
    if out.is_dir():
        raise InputError(f"cannot write {out}: it is a folder; give the name of a file")
    if not os.access(out.parent, os.W_OK):
        reason = "may not be written to" if out.parent.is_dir() else "is no folder"
        raise InputError(f"cannot write {out}: {out.parent} {reason}; choose another --out")


def compute(model: ViT, files: list[Path], device: Device = CPU) -> np.ndarray:
    """The pooled features (B, D) of picture files, by a model on ``device``; the next batch is read meanwhile."""
    features = np.empty((len(files), model.config.width), np.float32)

    def pool(images: np.ndarray, first: int, part: slice) -> None:
        with no_grad():
            z = model.encode(model.config.preprocessing.prepare(device.put(images[part])), only_pooled=True)
            features[first + part.start : first + part.stop] = to_numpy(model.pool(z).data)

    first = 0
    with Workers(1 if device.is_gpu else available_cores()) as workers:
        for images in batches(model, files):
            parts = split(len(images), workers.count)
            workers.map(lambda part, images=images, first=first: pool(images, first, part), parts)
            first += len(images)
    return features


def batches(model: ViT, files: list[Path]) -> Iterator[np.ndarray]:
    """The pictures as the model wants them: uint8 (up to BATCH_SIZE, H, W, C)."""
    from tqdm import tqdm

    config = model.config

    def read(start: int) -> np.ndarray:
        some = files[start : start + BATCH_SIZE]
        return np.stack([config.preprocessing.read(file, config.image_size, config.channels) for file in some])

    with (
        ThreadPoolExecutor(max_workers=1, thread_name_prefix="tinyvit-pictures") as reader,
        tqdm(total=len(files), unit=" pictures", leave=False, disable=None) as bar,
    ):
        ahead = reader.submit(read, 0)
        for index in range(math.ceil(len(files) / BATCH_SIZE)):
            images = ahead.result()
            if (index + 1) * BATCH_SIZE < len(files):
                ahead = reader.submit(read, (index + 1) * BATCH_SIZE)
            yield images
            bar.update(len(images))


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays to an .npz file, atomically. Raises InputError when it cannot be written."""

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:  # by its name alone, NumPy would call it .npz once more
            np.savez(file, **arrays)

    write_atomically(path, write)


if __name__ == "__main__":
    commands.run(main)
