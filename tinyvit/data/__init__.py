"""Data sets (embedded, downloaded, from a folder), augmentation and the batch loader.

May import tinyvit.errors, files and device, and nothing else of tinyvit: data stands beside the models.
"""

from tinyvit.data.augment import Augmentation, augment
from tinyvit.data.dataset import Dataset
from tinyvit.data.device_batches import device_batches
from tinyvit.data.imagenet import imagenet_names
from tinyvit.data.load import DATASETS, load_dataset
from tinyvit.data.loader import Loader, normalise
from tinyvit.data.picture import read_picture

__all__ = [
    "DATASETS",
    "Augmentation",
    "Dataset",
    "Loader",
    "augment",
    "device_batches",
    "imagenet_names",
    "load_dataset",
    "normalise",
    "read_picture",
]
