"""tinyvit's own files, which carry their config and a checksum of everything."""

from collections.abc import Iterator, Mapping

import numpy as np

from tinyvit.errors import InputError
from tinyvit.files import METADATA_KEY, verified_metadata
from tinyvit.models.config import ViTConfig
from tinyvit.models.published.checkpoint import Checkpoint
from tinyvit.models.published.rules import AS_IS, Rules, rule
from tinyvit.models.published.source import Source
from tinyvit.models.published.stored import StoredArray
from tinyvit.models.vit import ViT
from tinyvit.nn import initial


class OneAtATime(Mapping):
    """Arrays that are read when they are looked at, and not kept."""

    def __init__(self, arrays: dict[str, StoredArray]):
        self._arrays = arrays

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name].load(True)

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


def config(checkpoint: Checkpoint) -> ViTConfig:
    """The config in the file, once the file has proved to be whole."""
    entry = checkpoint.metadata.get(METADATA_KEY)
    metadata = verified_metadata(checkpoint.path, OneAtATime(checkpoint.arrays), entry)
    if "config" not in metadata:
        raise InputError(f"{checkpoint.path} holds no tinyvit model: its metadata has no config")
    return ViTConfig.from_dict(metadata["config"])


def rules(config: ViTConfig) -> Rules:
    with initial.shapes_only():
        return {name: rule(AS_IS, name) for name, _ in ViT(config).named_parameters()}


# Positions are resized as in the paper's code.
TINYVIT = Source(
    "tinyvit", lambda names: False, lambda checkpoint, with_head: checkpoint, config, rules, resize="bilinear_corners"
)
