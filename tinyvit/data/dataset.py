"""A labelled set of images in memory."""

from dataclasses import dataclass, replace

import numpy as np

from tinyvit.errors import InputError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with one class label each.

    images: uint8, (count, height, width, channels), values 0 to 255.
    labels: int64, (count,), each an index into ``class_names``.

    Raises ValueError when the arrays do not have those shapes and types or a label has no class name.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise ValueError(f"images are {self.images.dtype} {self.images.shape}; expected uint8 (N, H, W, C)")
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype != np.int64:
            expected = f"int64 {self.images.shape[:1]}"
            raise ValueError(f"labels are {self.labels.dtype} {self.labels.shape}; expected {expected}")
        if len(self) and not (self.labels.min() >= 0 and self.labels.max() < self.classes):
            given = f"labels run from {self.labels.min()} to {self.labels.max()}"
            raise ValueError(f"{given}; expected 0 to {self.classes - 1}, one for each class name")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return self.images.shape[3]

    @property
    def image_size(self) -> int:
        """Height and width in pixels. Raises InputError when the images are not square."""
        height, width = self.images.shape[1:3]
        if height != width:
            raise InputError(f"images of {self.name!r} are {height}x{width}; expected square ones: crop or resize")
        return height

    def limited(self, count: int) -> "Dataset":
        """A random subset of ``count`` images, the same at every call, as balanced between classes as can be.

        A count beyond the size of the set returns the whole set. Raises InputError when ``count`` is below 1.
        """
        if count < 1:
            raise InputError(f"cannot limit {self.name!r} to {count} images: give a count of at least 1")
        if count >= len(self):
            return self
        # Rank each image within its class in a random order; the lowest ranks of every class come first.
        shuffled = np.random.default_rng(0).permutation(len(self))
        by_class = shuffled[np.argsort(self.labels[shuffled], kind="stable")]
        sizes = np.bincount(self.labels, minlength=self.classes)
        rank = np.arange(len(self)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        chosen = np.sort(by_class[np.argsort(rank, kind="stable")[:count]])
        return replace(self, images=self.images[chosen], labels=self.labels[chosen])
