"""save_pretrained: a ViT in tinyvit's own form, in timm's or in Hugging Face's, for others to use."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tinyvit.device import to_numpy
from tinyvit.errors import InputError, unknown
from tinyvit.files import write_atomically, write_text
from tinyvit.models.config import ViTConfig
from tinyvit.models.published import to_huggingface, to_timm
from tinyvit.models.published.checkpoint import Checkpoint
from tinyvit.models.saved import save_model
from tinyvit.models.vit import ViT

FORMS = ("tinyvit", "timm", "huggingface")
# In the metadata of files of the other forms: the config, which their names and shapes do not tell in full.
CONFIG_KEY = "tinyvit_config"
LARGEST = 1_000_000


def save_pretrained(model: ViT, path: str | Path, form: str = "tinyvit", class_names: Sequence[str] = ()) -> list[str]:
    """Write a model.

    Args:
        path: a .safetensors file; or a folder, made if it is not there, which gets model.safetensors and, with the
            other forms, the config.json that timm (``create_model("local-dir:FOLDER", pretrained=True)``) or
            transformers (``from_pretrained``) needs. Form "huggingface" needs a folder.
        form: one of FORMS.
        class_names: of the outputs, kept where the form has a place for them.

    Returns:
        What the user should know: where the other program computes a little differently.

    Raises:
        InputError: an unknown form, a model that the form has no place for, or a file that cannot be written.
    """
    path = Path(path)
    if form not in FORMS:
        raise unknown("form", form, FORMS)
    folder = path.suffix != ".safetensors"
    if form == "huggingface" and not folder:
        raise InputError(f"{path} is a file: transformers needs a folder with its config.json, so give a folder")
    file = path / "model.safetensors" if folder else path
    parameters = {name: to_numpy(parameter.data) for name, parameter in model.named_parameters()}
    if form == "tinyvit":
        _make_folder(file.parent)
        save_model(file, parameters, model.config, classes=list(class_names))
        return []
    # Others have learned positions only, and any kind, or none, can be written as such.
    config = dataclasses.replace(model.config, position_embedding="learned")
    shape = (1, config.positions, config.width)
    positions = np.zeros(shape, np.float32) if model.position is None else to_numpy(model.position().data)
    parameters = {name: value for name, value in parameters.items() if not name.startswith("position.")}
    parameters["position.embedding"] = positions
    other = to_timm if form == "timm" else to_huggingface
    arrays, notes = other.arrays(parameters, config), other.notes(config)
    texts = other.texts(config, class_names) if folder else {}
    _make_folder(file.parent)
    _write(file, arrays, config)
    for name, values in texts.items():
        write_text(path / name, json.dumps(values, indent=2) + "\n")
    return notes


def written_config(checkpoint: Checkpoint) -> ViTConfig | None:
    """The config that :func:`save_pretrained` wrote into a file of another form, None in a file of somebody else's.

    Raises:
        InputError: it is altered.
    """
    if CONFIG_KEY not in checkpoint.metadata:
        return None
    altered = InputError(f"{checkpoint.path} is altered: its {CONFIG_KEY} makes no sense; copy it again")
    try:
        values = json.loads(checkpoint.metadata[CONFIG_KEY])
    except (ValueError, RecursionError) as error:
        raise altered from error
    # Numbers that no model has would only cost time and memory until the shapes are compared.
    if not isinstance(values, dict) or any(isinstance(v, int) and v > LARGEST for v in values.values()):
        raise altered
    config = ViTConfig.from_dict(values)
    if config.depth + sum(config.stem_depths) > len(checkpoint.arrays) or config.position_embedding != "learned":
        raise altered
    return config


def _write(path: Path, arrays: Mapping[str, np.ndarray], config: ViTConfig) -> None:
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    # transformers insists on the format.
    metadata = {"format": "pt", CONFIG_KEY: json.dumps(dataclasses.asdict(config))}
    write_atomically(path, lambda temporary: temporary.write_bytes(save(arrays, metadata=metadata)))


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {path}: {error.strerror}; choose another") from error
