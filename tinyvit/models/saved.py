"""A model as a file: its weights by name and its config."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tinyvit.errors import InputError
from tinyvit.files import read_tensors, write_tensors
from tinyvit.models.config import ViTConfig
from tinyvit.models.vit import ViT
from tinyvit.nn import Module, initial


def save_model(path: Path, weights: Mapping[str, np.ndarray], config: ViTConfig, **metadata) -> None:
    """Write weights (by parameter name), config and further JSON metadata, atomically.

    Raises:
        InputError: the file cannot be written.
    """
    write_tensors(path, weights, {"config": dataclasses.asdict(config), **metadata})


def load_model(path: Path) -> tuple[ViT, dict]:
    """The model in a file that :func:`save_model` wrote, and the further metadata.

    Raises:
        InputError: a file that is missing, cut short, altered, a pickle, or holds no tinyvit model.
    """
    tensors, metadata = read_tensors(path)
    if "config" not in metadata:
        raise InputError(f"{path} holds no tinyvit model: its metadata has no config")
    config = ViTConfig.from_dict(metadata.pop("config"))
    with initial.shapes_only():
        model = ViT(config)
    set_weights(model, tensors, path)
    return model, metadata


def set_weights(model: Module, weights: Mapping[str, np.ndarray], source: Path) -> None:
    """Make arrays the parameters of ``model``, by name.

    Raises:
        InputError: a parameter missing from or unknown to ``source``, or one of another shape.
    """
    parameters = dict(model.named_parameters())
    for kind, names in (
        ("lacks", parameters.keys() - weights.keys()),
        ("has the unknown", weights.keys() - parameters.keys()),
    ):
        if names:
            raise InputError(f"{source} is of another model: it {kind} parameter {min(names)!r} ({len(names)} in all)")
    for name, parameter in parameters.items():
        if weights[name].shape != parameter.shape:
            raise InputError(
                f"{source} is of another model: parameter {name!r} has shape {weights[name].shape}, "
                f"expected {parameter.shape}"
            )
        parameter.data = weights[name]
