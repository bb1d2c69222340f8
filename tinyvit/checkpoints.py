"""What commands mean by a CHECKPOINT: a run's folder, or weights of tinyvit's or of any published source."""

import dataclasses
import json
from pathlib import Path

from tinyvit.data import imagenet_names
from tinyvit.files import METADATA_KEY
from tinyvit.models import ViT, load_model
from tinyvit.models.published import load_pretrained
from tinyvit.models.published.checkpoint import Checkpoint, open_checkpoint
from tinyvit.training.run import model_path

HELP = "a run's folder, or a file or folder of weights: tinyvit's, timm's, Hugging Face's or Google's (.npz)"


@dataclasses.dataclass(frozen=True)
class Opened:
    """A model ready for use.

    Attributes:
        model: with its preprocessing in its config.
        class_names: of its outputs, as many as it has.
        path: the file of the weights.
        own: whether tinyvit wrote it.
    """

    model: ViT
    class_names: list[str]
    path: Path
    own: bool


def open_model(given: Path) -> Opened:
    """The model that a user means by a path.

    Class names are those that stand in the file or beside it; where there are none, ImageNet's for a model of another
    source that has as many classes.

    Raises:
        InputError: nothing there, a run without a model yet, or weights that cannot be read.
    """
    if not given.exists() or _is_run(given):
        return _own(model_path(given))
    checkpoint = open_checkpoint(given)
    if METADATA_KEY in checkpoint.metadata:
        return _own(checkpoint.path)
    model = load_pretrained(given)
    count = model.config.classes
    names = _names_beside(checkpoint, count) or imagenet_names(count) or _numbers(count)
    return Opened(model, names, checkpoint.path, own=False)


def _own(path: Path) -> Opened:
    model, metadata = load_model(path)
    return Opened(model, metadata.get("classes") or _numbers(model.config.classes), path, own=True)


def _is_run(given: Path) -> bool:
    """Whether a folder is a run's; Hugging Face's and timm's have a config.json too."""
    try:
        return "recipe" in json.loads((given / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _names_beside(checkpoint: Checkpoint, count: int) -> list[str] | None:
    """Hugging Face's names of the classes, unless they are the ones that it makes up."""
    names = checkpoint.config.get("id2label")
    if not isinstance(names, dict) or names.keys() != {str(i) for i in range(count)}:
        return None
    names = [str(names[str(i)]) for i in range(count)]
    return None if names[:1] == ["LABEL_0"] else names


def _numbers(count: int) -> list[str]:
    return [f"class {i}" for i in range(count)]
