"""load_pretrained: from a checkpoint of any known source to a ViT."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tinyvit.errors import InputError
from tinyvit.files import METADATA_KEY
from tinyvit.models.config import ViTConfig
from tinyvit.models.published.checkpoint import Checkpoint, open_checkpoint
from tinyvit.models.published.google import GOOGLE
from tinyvit.models.published.huggingface import DINOV2, DINOV2_WITH_REGISTERS, VIT
from tinyvit.models.published.resize import resized
from tinyvit.models.published.rules import Rules, arrays_of
from tinyvit.models.published.save import written_config
from tinyvit.models.published.source import Source
from tinyvit.models.published.timm import TIMM
from tinyvit.models.published.tinyvit import TINYVIT
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
    try:
        config = written_config(checkpoint) or source.config(checkpoint)
    except InputError as error:
        if str(checkpoint.path) in str(error) or "config.json" in str(error):
            raise
        # An error of a config does not know which file it is from.
        raise InputError(f"{checkpoint.path}: {error}") from error
    rules = source.rules(config)
    _check(checkpoint, source, config, rules)

    def read(name: str) -> np.ndarray:
        one = rules[name]
        return one.form.take(*(checkpoint.arrays[theirs].read(one.form.copies) for theirs in one.names))

    return _build(config, image_size, classes, read, source.resize)


def _source(checkpoint: Checkpoint) -> Source:
    if METADATA_KEY in checkpoint.metadata:
        return TINYVIT
    for source in SOURCES:
        if source.recognises(checkpoint.arrays):
            return source
    raise InputError(
        f"{checkpoint.path} holds no ViT that tinyvit knows: its first names are "
        f"{', '.join(map(repr, sorted(checkpoint.arrays)[:3])) or 'none at all'}"
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


def _build(
    stored: ViTConfig, image_size: int | None, classes: int | None, read: Callable[[str], np.ndarray], method: str
) -> ViT:
    """A model whose parameters ``read`` gives by name, those of a model of config ``stored``."""
    changes = {} if image_size is None else {"image_size": image_size}
    new_head = classes is not None and classes != stored.classes
    if new_head:
        changes.update(classes=classes, representation=0 if classes else stored.representation)
    config = dataclasses.replace(stored, **changes)
    with initial.shapes_only():
        model = ViT(config)
    for name, parameter in model.named_parameters():
        if new_head and name.startswith(("head.", "head_distillation.")):
            parameter.data = np.zeros(parameter.shape, np.float32)
        else:
            parameter.data = resized(name, read(name), stored, config, method)
    return model
