"""Preprocessing: how a picture becomes the numbers that a model was trained on."""

import dataclasses
import math
from pathlib import Path

import numpy as np

from tinyvit.data.loader import normalise
from tinyvit.data.picture import INTERPOLATIONS, RESIZES, read_picture
from tinyvit.errors import InputError, check_types, unknown

# Of the pixels of ImageNet, from 0 to 1: what DeiT and DINOv2 were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What is done to a picture before the model; the defaults are those of the models that tinyvit trains.

    Attributes:
        mean, std: pixels from 0 to 1 become (pixel - mean) / std; one number for all channels, or one for each.
        resize: "centre_square" cuts the largest square out of the middle and resizes it, as tinyvit's data sets do;
            "shorter_side" resizes the picture by its shorter side and then cuts out the middle (timm, DINOv2);
            "stretch" makes a square of it whatever its shape (Google, Hugging Face's ViT).
        crop: image size / the size resized to; what is over is cut off all around. timm calls it crop_pct.
        interpolation: "bilinear" or "bicubic", both antialiased.

    Raises:
        InputError: a value out of range, or a mean and a std that don't fit together.
    """

    mean: tuple = (0.5,)
    std: tuple = (0.5,)
    resize: str = "centre_square"
    crop: float = 1.0
    interpolation: str = "bicubic"

    def __post_init__(self):
        for field in ("mean", "std"):
            values = getattr(self, field)
            if not values or not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
                raise InputError(f"preprocessing's {field} is {values}: it must be one number or one for each channel")
        if len(self.mean) != len(self.std):
            raise InputError(f"preprocessing's mean {self.mean} and std {self.std} must be of the same length")
        if min(self.std) <= 0:
            raise InputError(f"preprocessing's std is {self.std}: it must be more than 0")
        if not 0 < self.crop <= 1:
            raise InputError(f"preprocessing's crop is {self.crop}: it must be more than 0 and at most 1")
        if self.resize not in RESIZES:
            raise unknown("resize", self.resize, RESIZES)
        if self.interpolation not in INTERPOLATIONS:
            raise unknown("interpolation", self.interpolation, INTERPOLATIONS)

    @classmethod
    def from_dict(cls, values: dict) -> "Preprocessing":
        """What ``dataclasses.asdict`` turned into ``values``, also after JSON, which makes lists of tuples.

        Raises:
            InputError: a field that this version does not know, or a value of the wrong type or out of range.
        """
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        check_types("preprocessing", cls, values)
        return cls(**values)

    def read(self, file: Path, size: int, channels: int) -> np.ndarray:
        """A picture file, resized and cropped: uint8 (size, size, channels); channels 3 for colour, 1 for grey.

        Raises:
            InputError: a file that is missing, broken or too large to be true.
        """
        # The rounding error of a quotient must not cost a pixel: 384 / (384 / 450) is 449.99999999999994.
        resized = math.floor(size / self.crop + 1e-6)
        return read_picture(file, size, channels, self.resize, resized, self.interpolation)

    def prepare(self, images: np.ndarray) -> np.ndarray:
        """Pixels from 0 to 255 as the model takes them: uint8 (B, H, W, C) -> float32 (B, H, W, C).

        Raises:
            ValueError: mean and std are for another number of channels.
        """
        return normalise(images, self.mean, self.std)
