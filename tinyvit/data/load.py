"""From a data set's name to its images."""

from pathlib import Path

from tinyvit.data.dataset import Dataset
from tinyvit.data.fashion_mini import load_fashion_mini
from tinyvit.data.fashion_mnist import load_fashion_mnist
from tinyvit.data.resize import resized
from tinyvit.errors import InputError, unknown

DATASETS = ("fashion-mini", "fashion-mnist", "cifar10", "cifar100", "folder:PATH")


def load_dataset(
    name: str, *, image_size: int | None = None, data_dir: Path | None = None
) -> tuple[Dataset, Dataset]:
    """The (train, test) sets called ``name``, one of DATASETS, with square images of ``image_size`` pixels.

    image_size: None keeps the data's own size: 28 for Fashion-MNIST, 32 for CIFAR, 64 for a folder.
    data_dir: where the files of a downloadable set lie; None looks in the usual places, then downloads.
    Raises InputError for an unknown name and for files that are missing, broken or altered.
    """
    if image_size is not None and image_size < 1:
        raise InputError(f"image size is {image_size} pixels: give at least 1")
    if name == "fashion-mini":
        sets = load_fashion_mini()
    elif name == "fashion-mnist":
        sets = load_fashion_mnist(data_dir)
    else:
        raise unknown("data set", name, DATASETS)
    if image_size is None:
        return sets
    train, test = sets
    return resized(train, image_size), resized(test, image_size)
