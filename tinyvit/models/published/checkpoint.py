"""A checkpoint as somebody gives it, a file or a folder: its arrays by name, unread, and what stands beside them."""

import dataclasses
import json
import re
import zipfile
from pathlib import Path

from tinyvit.errors import InputError
from tinyvit.files import PICKLES
from tinyvit.models.published.npz import open_npz
from tinyvit.models.published.pickled import pickled
from tinyvit.models.published.safetensors_file import open_safetensors
from tinyvit.models.published.stored import StoredArray

INDEX = "model.safetensors.index.json"
# In folders of Hugging Face, timm and tinyvit, in the order in which they are looked for.
WEIGHTS = ("model.safetensors", INDEX, "pytorch_model.bin", "pytorch_model.bin.index.json")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint.

    Attributes:
        path: of the file of the weights, or of the index of several.
        arrays: by name.
        metadata: of a safetensors file.
        config, preprocessor: config.json and preprocessor_config.json of a folder, empty where there is none.
    """

    path: Path
    arrays: dict[str, StoredArray]
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    config: dict = dataclasses.field(default_factory=dict)
    preprocessor: dict = dataclasses.field(default_factory=dict)

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        """The shape of an array that must be there.

        Raises:
            InputError: it is not there, has another number of dimensions, or is empty.
        """
        if name not in self.arrays:
            raise InputError(f"{self.path} lacks {name!r}: it is cut short or of another model; copy it again")
        shape = self.arrays[name].shape
        if len(shape) != dimensions or 0 in shape:
            raise InputError(f"{self.path}: {name!r} has shape {shape}, expected {dimensions} dimensions, none of 0")
        return shape

    def count(self, pattern: str) -> int:
        """How many different numbers stand where ``pattern`` has a group, at the start of an array's name."""
        return len({found[1] for name in self.arrays if (found := re.match(pattern, name))})

    def said(self, name: str, default: float) -> float:
        """A number of config.json, or ``default`` where it says nothing, of whose type it must be.

        Raises:
            InputError: it is something else.
        """
        value = self.config.get(name, default)
        if type(default) is float and type(value) is int:
            value = float(value)
        if type(value) is not type(default) or not value > 0:
            raise InputError(f"{self.path.parent / 'config.json'}: {name} is {value!r}, expected a number more than 0")
        return value


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a .safetensors or .npz file, or a folder with weights as Hugging Face and timm give them.

    Raises:
        InputError: nothing there, a pickle, or a file that is broken.
    """
    if not path.is_dir():
        return _open_file(path)
    file = next((path / name for name in WEIGHTS if (path / name).is_file()), None)
    if file is None:
        raise InputError(f"{path} is a folder without {' or '.join(WEIGHTS[:2])}: give a file of weights")
    checkpoint = _open_shards(file) if file.name == INDEX else _open_file(file)
    return dataclasses.replace(
        checkpoint,
        config=_read_json(path / "config.json"),
        preprocessor=_read_json(path / "preprocessor_config.json"),
    )


def _open_file(path: Path) -> Checkpoint:
    try:
        with open(path, "rb") as file:
            start = file.read(2)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give a .safetensors or .npz file") from error
    if start == b"PK" and zipfile.is_zipfile(path):
        return Checkpoint(path, open_npz(path))
    try:
        arrays, metadata = open_safetensors(path)
    except InputError:
        # Asked only now, since a safetensors file can begin with these bytes too: they are the length of its header.
        if start in PICKLES and start != b"PK":
            raise pickled(path) from None
        if start == b"PK" or path.suffix == ".npz":
            raise InputError(f"{path} is cut short or no .npz file: it has no zip directory; copy it again") from None
        raise
    return Checkpoint(path, arrays, metadata)


def _open_shards(index: Path) -> Checkpoint:
    """Several safetensors files, and an index that says which array lies in which."""
    placed = _read_json(index).get("weight_map")
    if not isinstance(placed, dict) or not all(isinstance(name, str) for name in placed.values()):
        raise InputError(f"{index} is no index of weights: it has no weight_map; copy it again")
    arrays = {}
    for shard in sorted(set(placed.values())):
        if Path(shard).name != shard:
            raise InputError(f"{index}: {shard!r} is not the name of a file beside it")
        held, _ = open_safetensors(index.parent / shard)
        for name in (name for name in placed if placed[name] == shard):
            if name not in held:
                raise InputError(f"{index.parent / shard} lacks {name!r}, which {index.name} says it holds")
            arrays[name] = held.pop(name)
        if held:
            raise InputError(f"{index.parent / shard} has {min(held)!r}, of which {index.name} says nothing")
    return Checkpoint(index, arrays)


def _read_json(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}: {error}; copy it again") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no names: expected a JSON object")
    return values
