"""From a data set's name to its images."""

from pathlib import Path

from tinyvit.data.cifar import CIFAR10, CIFAR100, load_cifar
from tinyvit.data.dataset import Dataset
from tinyvit.data.fashion_mini import load_fashion_mini
from tinyvit.data.fashion_mnist import load_fashion_mnist
from tinyvit.data.folder import FOLDER_IMAGE_SIZE, load_folder
from tinyvit.data.resize import resized
from tinyvit.errors import InputError, unknown

DATASETS = ("fashion-mini", "fashion-mnist", "cifar10", "cifar100", "folder:PATH")


def load_dataset(name: str, *, image_size: int | None = None, data_dir: Path | None = None) -> tuple[Dataset, Dataset]:
    """The (train, test) sets called ``name``, one of DATASETS, with square images of ``image_size`` pixels.

    image_size: None keeps the data's own size: 28 for Fashion-MNIST, 32 for CIFAR, 64 for a folder.
    data_dir: where the files of a downloadable set lie; None looks in the usual places, then downloads.
    Raises InputError for an unknown name and for files that are missing, broken or altered.
    """
    if image_size is not None and image_size < 1:
        raise InputError(f"image size is {image_size} pixels: give at least 1")
    if data_dir is not None and (name == "fashion-mini" or name.startswith("folder:")):
        raise InputError(f"data set {name!r} says itself where it is: leave out the data folder {data_dir}")
    if name.startswith("folder:"):
        return load_folder(Path(name.removeprefix("folder:")), image_size or FOLDER_IMAGE_SIZE)
    if name == "fashion-mini":
        sets = load_fashion_mini()
    elif name == "fashion-mnist":
        sets = load_fashion_mnist(data_dir)
    elif name == "cifar10":
        sets = load_cifar(CIFAR10, data_dir)
    elif name == "cifar100":
        sets = load_cifar(CIFAR100, data_dir)
    else:
        raise unknown("data set", name, DATASETS)
    if image_size is None:
        return sets
    train, test = sets
    return resized(train, image_size), resized(test, image_size)
