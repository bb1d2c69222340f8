"""A picture file as an array."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinyvit.errors import InputError

if TYPE_CHECKING:  # Pillow is imported only when pictures are read
    from PIL.Image import Image


def read_picture(file: Path, size: int, channels: int) -> np.ndarray:
    """One picture, upright, resized on the short side (bicubic) and cropped to the centre square.

    channels: 3 for colour, 1 for grey. Returns uint8 (size, size, channels).
    Raises InputError that names the file when it is missing, broken or too large to be true.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as image:
            # A JPEG can be decoded at 1/2, 1/4 or 1/8; twice the size leaves enough to shrink smoothly.
            image.draft("RGB", (2 * size, 2 * size))
            upright = _rgb(ImageOps.exif_transpose(image))
            square = ImageOps.fit(upright, (size, size), Image.Resampling.BICUBIC)
            return np.asarray(square if channels == 3 else square.convert("L")).reshape(size, size, channels)
    except Exception as error:  # Pillow raises errors of many kinds for broken files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"cannot read the picture {file} ({reason}): repair or remove it") from None


def _rgb(image: "Image") -> "Image":
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits of grey, which convert() would clip at 255
        image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
    return image.convert("RGB")
