"""load_pretrained: from a checkpoint of any known source to a ViT."""

import dataclasses
from pathlib import Path

import numpy as np

from tinyvit.errors import InputError
from tinyvit.models.config import ViTConfig
from tinyvit.models.published.checkpoint import Checkpoint, open_checkpoint
from tinyvit.models.published.google import GOOGLE
from tinyvit.models.published.huggingface import DINOV2, DINOV2_WITH_REGISTERS, VIT
from tinyvit.models.published.resize import resize_positions
from tinyvit.models.published.rules import Rules, arrays_of
from tinyvit.models.published.source import Source
from tinyvit.models.published.timm import TIMM
from tinyvit.models.vit import ViT
from tinyvit.nn import initial

SOURCES = (GOOGLE, TIMM, DINOV2, DINOV2_WITH_REGISTERS, VIT)


def load_pretrained(path: str | Path, *, image_size: int | None = None, classes: int | None = None) -> ViT:
    """The model in a checkpoint of Google's (.npz), timm's, Hugging Face's (.safetensors) or tinyvit's own.

    Where possible its weights are the file itself, mapped into memory: they are read from the disk when they are first
    used, and writing to them changes the model and not the file.

    Args:
        path: the file, or a folder with config.json and model.safetensors.
        image_size: in pixels; position embeddings are resized as the source does it. None for the checkpoint's own.
        classes: None keeps the head; 0 leaves it out; another number than the checkpoint's gives a new head of
            zeros, without a representation layer before it (paper, section 3.1).

    Raises:
        InputError: a file that is broken, a pickle, no ViT that tinyvit knows, or one that lacks an array, has one too
            many or one of another shape.
    """
    checkpoint = open_checkpoint(Path(path))
    source = _source(checkpoint)
    checkpoint = source.prepare(checkpoint, classes is None)
    config = source.config(checkpoint)
    rules = source.rules(config)
    _check(checkpoint, source, config, rules)
    changes = {} if image_size is None else {"image_size": image_size}
    if classes is not None and classes != config.classes:
        changes.update(classes=classes, representation=0 if classes else config.representation)
    return _build(checkpoint, source, config, dataclasses.replace(config, **changes), rules)


def _source(checkpoint: Checkpoint) -> Source:
    for source in SOURCES:
        if source.recognises(checkpoint.arrays):
            return source
    raise InputError(
        f"{checkpoint.path} holds no ViT that tinyvit knows: its first names are "
        f"{', '.join(sorted(checkpoint.arrays)[:3]) or 'none at all'}"
    )


def _check(checkpoint: Checkpoint, source: Source, config: ViTConfig, rules: Rules) -> None:
    """Refuse a checkpoint whose names and shapes are not those of the model that its config describes."""
    with initial.shapes_only():
        parameters = {name: parameter.data for name, parameter in ViT(config).named_parameters()}
    expected = arrays_of(parameters, rules)
    arrays = checkpoint.arrays
    for kind, names in (("lacks", expected.keys() - arrays.keys()), ("has the unknown", arrays.keys() - expected)):
        if names:
            name = min(names)
            stored = arrays[name].name if name in arrays else name
            raise InputError(
                f"{checkpoint.path} {kind} array {stored!r} ({len(names)} in all): it is no whole ViT of {source.name}"
            )
    for name, array in arrays.items():
        if array.shape != expected[name].shape:
            raise InputError(
                f"{checkpoint.path}: {array.name!r} has shape {array.shape}, expected {expected[name].shape}"
            )


def _build(checkpoint: Checkpoint, source: Source, stored: ViTConfig, config: ViTConfig, rules: Rules) -> ViT:
    """The model of ``config`` with the weights of a checkpoint whose own config is ``stored``."""
    with initial.shapes_only():
        model = ViT(config)
    for name, parameter in model.named_parameters():
        if name.split(".")[0] in ("head", "head_distillation") and config.classes != stored.classes:
            parameter.data = np.zeros(parameter.shape, np.float32)
            continue
        one = rules[name]
        value = one.form.take(*(checkpoint.arrays[theirs].read() for theirs in one.names))
        if name == "position.embedding" and config.grid != stored.grid:
            value = resize_positions(value, stored.grid, config.grid, source.resize)
        parameter.data = value
        checkpoint.release()
    return model
