"""A picture file as an array."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinyvit.errors import InputError

if TYPE_CHECKING:  # Pillow is imported only when pictures are read
    from PIL.Image import Image


RESIZES = ("centre_square", "shorter_side", "stretch")
INTERPOLATIONS = ("bilinear", "bicubic")


def read_picture(
    file: Path,
    size: int,
    channels: int,
    resize: str = "centre_square",
    resized: int | None = None,
    interpolation: str = "bicubic",
) -> np.ndarray:
    """One picture, upright, resized and cropped to a square.

    Args:
        file: JPEG, PNG, WebP or whatever else Pillow reads.
        size: of the square, in pixels.
        channels: 3 for colour, 1 for grey.
        resize: "centre_square" resizes the largest square in the middle, "shorter_side" the whole picture by its
            shorter side, "stretch" the whole picture to a square.
        resized: the size, or that of the shorter side, that it is resized to before the middle is cut out; ``size``
            by default.
        interpolation: "bilinear" or "bicubic", both antialiased.

    Returns:
        uint8 (size, size, channels).

    Raises:
        InputError: the file is missing, broken or too large to be true; the message names it.
    """
    from PIL import Image, ImageOps

    resized = resized or size
    method = Image.Resampling[interpolation.upper()]
    try:
        with Image.open(file) as image:
            if resize == "centre_square":
                # A JPEG can be decoded at 1/2, 1/4 or 1/8; twice the size leaves enough to shrink smoothly. The others
                # must give the same pixels as the code that the published weights come from, which does not.
                image.draft("RGB", (2 * resized, 2 * resized))
            picture = _rgb(ImageOps.exif_transpose(image))
            if resize == "centre_square":
                picture = ImageOps.fit(picture, (resized, resized), method)
            elif resize == "shorter_side":
                shorter = min(picture.size)
                picture = picture.resize([side * resized // shorter for side in picture.size], method)
            else:
                picture = picture.resize((resized, resized), method)
            # Half a pixel is rounded as timm does it; Hugging Face's code rounds down, and can differ by that pixel.
            left, top = (round((side - size) / 2) for side in picture.size)
            square = picture.crop((left, top, left + size, top + size))
            return np.asarray(square if channels == 3 else square.convert("L")).reshape(size, size, channels)
    except Exception as error:  # Pillow raises errors of many kinds for broken files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"cannot read the picture {file} ({reason}): repair or remove it") from None


def _rgb(image: "Image") -> "Image":
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits of grey, which convert() would clip at 255
        image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
    return image.convert("RGB")
