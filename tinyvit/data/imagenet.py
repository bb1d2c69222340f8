"""The names of ImageNet's classes, in the order of a published model's outputs."""

import gzip
from pathlib import Path

from tinyvit.errors import InputError

FOLDER = Path(__file__).parent / "embedded"
# Outputs of a model -> the file with a name a line. 1,000 are those of the ILSVRC-2012 challenge, which is what is
# mostly meant by ImageNet; 21,843 those of the whole of it (ImageNet-21k), which the paper pre-trains on.
FILES = {1000: FOLDER / "imagenet_1k.txt.gz", 21843: FOLDER / "imagenet_21k.txt.gz"}


def imagenet_names(classes: int) -> list[str] | None:
    """The names of ImageNet's classes, or None for a number of classes that is neither 1,000 nor 21,843.

    Made by ``make_imagenet_names.py`` from WordNet 3.0. Raises InputError when the file is missing or damaged.
    """
    if classes not in FILES:
        return None
    try:
        names = gzip.decompress(FILES[classes].read_bytes()).decode().splitlines()
        if len(names) != classes:
            raise ValueError(f"{len(names)} names in place of {classes}")
    except (OSError, EOFError, ValueError) as error:
        raise InputError(
            f"cannot read the names of ImageNet's classes in {FILES[classes]} ({error}): "
            "reinstall tinyvit, or check the file out again"
        ) from None
    return names
