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
        known_names: of its classes; empty where they have no names.
        path: the file of the weights.
        own: whether tinyvit wrote it.
    """

    model: ViT
    known_names: list[str]
    path: Path
    own: bool

    @property
    def class_names(self) -> list[str]:
        """A name for each class, if only a number."""
        return self.known_names or [f"class {i}" for i in range(self.model.config.classes)]


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
    names = _names_beside(checkpoint, count) or imagenet_names(count) or []
    return Opened(model, names, checkpoint.path, own=False)


def _own(path: Path) -> Opened:
    model, metadata = load_model(path)
    return Opened(model, metadata.get("classes") or [], path, own=True)


def _is_run(given: Path) -> bool:
    """Whether a folder is a run's; Hugging Face's and timm's have a config.json too."""
    try:
        return "recipe" in json.loads((given / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _names_beside(checkpoint: Checkpoint, count: int) -> list[str] | None:
    """Names of the classes in config.json, timm's or Hugging Face's, unless they are those that the latter makes up."""
    names = checkpoint.config.get("label_names") or checkpoint.config.get("id2label")
    if isinstance(names, dict) and names.keys() == {str(i) for i in range(count)}:
        names = [names[str(i)] for i in range(count)]
    if not isinstance(names, list) or len(names) != count or names[:1] == ["LABEL_0"]:
        return None
    return [str(name) for name in names]
