"""Source: all that tinyvit knows of one format of published weights."""

import dataclasses
import math
from collections.abc import Callable, Collection

from tinyvit.errors import InputError
from tinyvit.models.config import ViTConfig
from tinyvit.models.published.checkpoint import Checkpoint
from tinyvit.models.published.rules import Rules

# The published ViTs whose heads are not 64 wide, by their width: So400m, H, g and G.
HEADS_OF_WIDTH = {1152: 16, 1280: 16, 1408: 16, 1664: 16}
SMALLEST_WIDTH = 192


@dataclasses.dataclass(frozen=True)
class Source:
    """A format of published weights.

    Attributes:
        name: for errors.
        recognises: whether these names are of this format.
        prepare: the checkpoint with the names that the rules use, and without arrays that no ViT of tinyvit needs.
            It is told whether the head of the file is wanted.
        config: the config of the model in a prepared checkpoint.
        rules: from tinyvit's parameters to the format's arrays, for a config.
        resize: how this source resizes position embeddings, one of resize.METHODS.
    """

    name: str
    recognises: Callable[[Collection[str]], bool]
    prepare: Callable[[Checkpoint, bool], Checkpoint]
    config: Callable[[Checkpoint], ViTConfig]
    rules: Callable[[ViTConfig], Rules]
    resize: str


def heads_of(checkpoint: Checkpoint, width: int) -> int:
    """How many heads a published ViT of this width has, where its file does not say it.

    Raises:
        InputError: a width that no published ViT has.
    """
    if width not in HEADS_OF_WIDTH and (width < SMALLEST_WIDTH or width % 64):
        raise InputError(
            f"{checkpoint.path} does not say how many heads its model of width {width} has, and no published ViT has "
            f"this width: give the folder with its config.json"
        )
    return HEADS_OF_WIDTH.get(width, width // 64)


def side_of_grid(checkpoint: Checkpoint, name: str, extra: int) -> int:
    """The side of the square grid of a position embedding (1, extra + side^2, D), ``extra`` rows of which are those of
    the class token and the like.

    Raises:
        InputError: the array is missing, of another shape, or its grid is no square.
    """
    _, rows, _ = checkpoint.shape(name, 3)
    if not is_square(rows - extra):
        raise InputError(
            f"{checkpoint.path}: {name!r} has {rows} rows, expected a square number and {extra} more: "
            f"tinyvit's images are square"
        )
    return math.isqrt(rows - extra)


def is_square(number: int) -> bool:
    return number > 0 and math.isqrt(number) ** 2 == number


def side_of_patch(checkpoint: Checkpoint, name: str, height: int, width: int) -> int:
    """The side of square patches. Raises InputError where they are not square."""
    if height != width:
        raise InputError(f"{checkpoint.path}: {name!r} is for patches of {height} x {width}: tinyvit's are square")
    return height
