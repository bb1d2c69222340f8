"""What is measured: a model and a batch size."""

import dataclasses

import numpy as np

from tinyvit.errors import InputError
from tinyvit.models import ViT, ViTConfig


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the table: a model and how many images a step gets.

    Raises:
        InputError: a batch size below 1, or a model without a head, which has no loss.
    """

    config: ViTConfig
    batch_size: int
    size: str = ""

    def __post_init__(self):
        if self.batch_size < 1:
            raise InputError(f"--batch-size is {self.batch_size}: give at least 1")
        if self.config.classes < 1:
            raise InputError("--classes is 0: give at least 1, for training needs a loss")

    @property
    def name(self) -> str:
        """Such as "tiny 224/16, batch 16": image and patch size in pixels, as the paper writes them."""
        config = self.config
        size = self.size or f"width {config.width}, depth {config.depth}"
        return f"{size}, {config.image_size}/{config.patch_size}, batch {self.batch_size}"

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Random images (B, H, W, C) in [-1, 1] and labels (B,), always the same."""
        config, random = self.config, np.random.default_rng(0)
        shape = (self.batch_size, config.image_size, config.image_size, config.channels)
        images = random.random(shape, dtype=np.float32)
        images *= 2
        images -= 1
        return images, random.integers(0, config.classes, self.batch_size)


def standard_rows() -> list[Row]:
    """From many tokens to few, and from a usual width to a small one: what is slow differs from row to row."""
    grey = {"image_size": 28, "patch_size": 7, "channels": 1, "classes": 10}
    return [
        Row(ViTConfig.named("tiny"), 16, "tiny"),
        Row(ViTConfig.named("tiny", **grey), 128, "tiny"),
        Row(ViTConfig.named("nano", **grey), 128, "nano"),
        Row(ViTConfig.named("tiny", depth=9, image_size=32, patch_size=4, classes=10), 64),
    ]


def gpu_rows() -> list[Row]:
    """The models whose training is compared on a GPU, with a batch that fills one."""
    return [Row(ViTConfig.named(size), 256, size) for size in ("tiny", "small")]


def randomise(model: ViT) -> None:
    """Weights in which nothing is zero or one, so that every parameter matters."""
    random = np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        values = random.standard_normal(parameter.shape)
        scale = parameter.shape[0] ** -0.5 if parameter.ndim == 2 else 0.3
        parameter.data = (scale * values + name.endswith("gamma")).astype(np.float32)
