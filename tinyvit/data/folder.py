"""``folder:PATH``: pictures on disk, one subfolder for each class."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tinyvit.data.dataset import Dataset
from tinyvit.data.picture import read_picture
from tinyvit.errors import InputError

FOLDER_IMAGE_SIZE = 64  # pixels, when nothing else is asked for
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
TEST_FOLDERS = ("test", "val", "valid", "validation")
TEST_SHARE = 0.1  # of each class, where the folder has no test set of its own
SPLIT_SEED = 0

Pictures = dict[str, list[Path]]  # class name -> its files, both in alphabetical order


def load_folder(path: Path, image_size: int) -> tuple[Dataset, Dataset]:
    """The (train, test) sets of RGB pictures, resized on the short side and cropped to a centre square.

    Either PATH/train/CLASS/* and PATH/test/CLASS/* (or val, valid, validation), or PATH/CLASS/* alone: then a
    tenth of each class, drawn at random and the same every time, is set aside as the test set. JPEG, PNG and
    WebP files are read, other files ignored. Raises InputError for a missing folder, fewer than two
    classes, a class without pictures, other classes in train than in test, and a picture that cannot be read.
    """
    path = path.expanduser()
    if not path.is_dir():
        raise InputError(f"{path} is not a folder: give one with a subfolder of pictures for each class")
    train, test = _find(path)
    class_names = tuple(train)
    return tuple(
        Dataset(f"folder:{path}", *_decode_all(pictures, image_size, path.name), class_names)
        for pictures in (train, test)
    )


def _find(path: Path) -> tuple[Pictures, Pictures]:
    # A folder called "train" that holds pictures itself is a class, of vehicles perhaps.
    if not ((path / "train").is_dir() and _subfolders(path / "train")):
        return _split(_classes(path))
    test_folder = next((path / name for name in TEST_FOLDERS if (path / name).is_dir()), None)
    if test_folder is None:
        raise InputError(f"{path} has train/ but no test set: add a folder {', '.join(TEST_FOLDERS)} beside it")
    train, test = _classes(path / "train"), _classes(test_folder)
    if train.keys() != test.keys():
        differing = ", ".join(sorted(train.keys() ^ test.keys()))
        raise InputError(
            f"{path / 'train'} and {test_folder} must hold the same classes: only one of them has {differing}"
        )
    return train, test


def _subfolders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _classes(path: Path) -> Pictures:
    found = {folder.name: _pictures(folder) for folder in _subfolders(path)}
    if len(found) < 2:
        had = f"only the class folder {next(iter(found))!r}" if found else "no class folders"
        raise InputError(f"{path} has {had}: give at least two, each with the pictures of one class")
    for name, files in found.items():
        if not files:
            kinds = ", ".join(SUFFIXES)
            raise InputError(f"class folder {path / name} holds no {kinds} files: add some or remove it")
    return found


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
    )


def _split(classes: Pictures) -> tuple[Pictures, Pictures]:
    """Sets aside a random tenth of each class, at least one picture, as the test set."""
    rng = np.random.default_rng(SPLIT_SEED)
    train, test = {}, {}
    for name, files in classes.items():
        if len(files) < 2:
            raise InputError(f"class {name!r} has only {files[0]}: give two or more, to train and to test")
        aside = set(rng.permutation(len(files))[: max(1, round(TEST_SHARE * len(files)))])
        train[name] = [file for index, file in enumerate(files) if index not in aside]
        test[name] = [file for index, file in enumerate(files) if index in aside]
    return train, test


def _decode_all(pictures: Pictures, size: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, size, size, 3) and labels int64 (N,). Threads help: Pillow frees the GIL."""
    from tqdm import tqdm

    files = [file for of_class in pictures.values() for file in of_class]
    images = np.empty((len(files), size, size, 3), np.uint8)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        decoded = pool.map(lambda file: read_picture(file, size, channels=3), files)
        bar = tqdm(decoded, total=len(files), desc=f"reading {name}", unit=" images", delay=2, leave=False)
        for index, image in enumerate(bar):
            images[index] = image
    labels = np.repeat(np.arange(len(pictures)), [len(of_class) for of_class in pictures.values()])
    return images, labels.astype(np.int64)
