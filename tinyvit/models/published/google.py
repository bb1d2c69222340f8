"""Google's .npz files: the original naming and that of Linen and big_vision, hybrids too.

Arrays are renamed to the original naming, of which the rules speak.
"""

import dataclasses
import functools
import re

import numpy as np

from tinyvit.errors import InputError
from tinyvit.models.config import ViTConfig, resnet_stride
from tinyvit.models.preprocessing import Preprocessing
from tinyvit.models.published.checkpoint import Checkpoint
from tinyvit.models.published.rules import AS_IS, Form, Rule, Rules, repeated, rule
from tinyvit.models.published.source import Source, is_square, side_of_grid, side_of_patch
from tinyvit.models.published.stored import StoredArray, derived

# What stands before the names of the model's arrays; what does not begin with it is of an optimiser or a text model.
PREFIXES = ("params/img/", "opt/target/", "params/", "")
POSITIONS = "Transformer/posembed_input/pos_embedding"
RENAMED = {
    r"^pos_embedding$": POSITIONS,
    r"/MultiHeadDotProductAttention_0/": "/MultiHeadDotProductAttention_1/",
    r"/LayerNorm_1/": "/LayerNorm_2/",
    r"/MlpBlock_0/": "/MlpBlock_3/",
}
STACKED = "Transformer/encoderblock/"
BLOCK_NAME = "Transformer/encoderblock_{}/"
ATTENTION = "MultiHeadDotProductAttention_1"


def rules(config: ViTConfig) -> Rules:
    patch = config.patch_size // config.stem_stride
    return {
        **_stem_rules(config.stem_depths),
        "patch_embedding.projection.weight": rule(_kernel(patch), "embedding/kernel"),
        "patch_embedding.projection.bias": rule(AS_IS, "embedding/bias"),
        "class_token": rule(AS_IS, "cls"),
        "position.embedding": rule(AS_IS, POSITIONS),
        **repeated(_block_rules(config.heads), "blocks.{}.", BLOCK_NAME, config.depth),
        **_norm("norm", "Transformer/encoder_norm"),
        **_linear("representation", "pre_logits"),
        **_linear("head", "head"),
    }


def _block_rules(heads: int) -> Rules:
    qkv = [f"{ATTENTION}/{part}" for part in ("query", "key", "value")]
    return {
        **_norm("norm1", "LayerNorm_0"),
        "attention.qkv.weight": Rule(tuple(f"{name}/kernel" for name in qkv), _by_head(heads, axis=1)),
        "attention.qkv.bias": Rule(tuple(f"{name}/bias" for name in qkv), _by_head(heads, axis=0)),
        "attention.out.weight": rule(
            Form(lambda a: [a.reshape(heads, -1, a.shape[1])], lambda a: a.reshape(-1, a.shape[2])),
            f"{ATTENTION}/out/kernel",
        ),
        "attention.out.bias": rule(AS_IS, f"{ATTENTION}/out/bias"),
        **_norm("norm2", "LayerNorm_2"),
        **_linear("mlp.linear1", "MlpBlock_3/Dense_0"),
        **_linear("mlp.linear2", "MlpBlock_3/Dense_1"),
    }


def _by_head(heads: int, axis: int) -> Form:
    """Queries, keys and values side by side along ``axis``, (..., 3 D), as three arrays (..., H, D/H)."""

    def give(array: np.ndarray) -> list[np.ndarray]:
        return [part.reshape(*part.shape[:-1], heads, -1) for part in np.split(array, 3, axis)]

    def take(*parts: np.ndarray) -> np.ndarray:
        return np.concatenate([part.reshape(*part.shape[:-2], -1) for part in parts], axis)

    return Form(give, take, copies=True)


def _kernel(size: int) -> Form:
    """tinyvit's (P P C, D) as the convolution kernel (P, P, C, D)."""
    return Form(lambda a: [a.reshape(size, size, -1, a.shape[1])], lambda a: a.reshape(-1, a.shape[3]))


def _linear(ours: str, theirs: str) -> Rules:
    return {f"{ours}.weight": rule(AS_IS, f"{theirs}/kernel"), f"{ours}.bias": rule(AS_IS, f"{theirs}/bias")}


def _norm(ours: str, theirs: str) -> Rules:
    return {f"{ours}.gamma": rule(AS_IS, f"{theirs}/scale"), f"{ours}.beta": rule(AS_IS, f"{theirs}/bias")}


def _stem_rules(depths: tuple[int, ...]) -> Rules:
    unit = {"projection.weight": rule(_kernel(1), "conv_proj/kernel"), **_norm("projection_norm", "gn_proj")}
    for i, size in ((1, 1), (2, 3), (3, 1)):
        unit[f"convolution{i}.weight"] = rule(_kernel(size), f"conv{i}/kernel")
        unit.update(_norm(f"norm{i}", f"gn{i}"))
    found = {"stem.root.weight": rule(_kernel(7), "conv_root/kernel"), **_norm("stem.root_norm", "gn_root")}
    for i, depth in enumerate(depths):
        for j in range(depth):
            found.update(repeated(unit, f"stem.stages.{i}.units.{j}.", f"block{i + 1}/unit{j + 1}/", 1))
    return found


def recognises(names) -> bool:
    return any(
        re.search(r"(^|/)(embedding/kernel|Transformer/encoderblock.*|posembed_input/.*)$", name) for name in names
    )


def prepare(checkpoint: Checkpoint, with_head: bool) -> Checkpoint:
    prefix = next(p for p in PREFIXES if any(name.startswith(p) for name in checkpoint.arrays))
    arrays = {}
    for name, array in checkpoint.arrays.items():
        if not name.startswith(prefix):
            continue
        name = name.removeprefix(prefix)
        for pattern, new in RENAMED.items():
            name = re.sub(pattern, new, name)
        if name in arrays:
            raise InputError(f"{checkpoint.path}: {array.name!r} and {arrays[name].name!r} are the same parameter")
        # Some files have the gains of group norm as (1, 1, 1, C).
        if len(array.shape) == 4 and re.search(r"(^|/)gn\w+/(scale|bias)$", name) and array.shape[:3] == (1, 1, 1):
            array = derived(array.name, array.shape[3:], [array], np.ravel)
        arrays.update(_unstacked(name, array) if name.startswith(STACKED) else {name: array})
    if {"cls", POSITIONS} <= arrays.keys():
        arrays[POSITIONS] = _with_class_position(arrays[POSITIONS])
    return dataclasses.replace(checkpoint, arrays=arrays)


def _unstacked(name: str, array: StoredArray) -> dict[str, StoredArray]:
    """An array of all blocks, (L, ...), as one for each block; it is read once for all of them."""
    read = functools.cache(array.read)

    def part(i: int) -> StoredArray:
        return dataclasses.replace(array, shape=array.shape[1:], dtype=np.dtype(np.float32), load=lambda own: read()[i])

    depth = array.shape[0] if array.shape else 0
    return {BLOCK_NAME.format(i) + name.removeprefix(STACKED): part(i) for i in range(depth)}


def _with_class_position(positions: StoredArray) -> StoredArray:
    """big_vision adds positions before it puts the class token first, which so has none: tinyvit adds zeros to it."""
    if len(positions.shape) != 3 or not is_square(positions.shape[1]):
        return positions
    _, rows, width = positions.shape
    zeros = np.zeros((1, 1, width), np.float32)
    return derived(
        positions.name, (1, rows + 1, width), [positions], lambda patches: np.concatenate([zeros, patches], axis=1)
    )


def config(checkpoint: Checkpoint) -> ViTConfig:
    names = checkpoint.arrays
    height, patch_width, channels, width = checkpoint.shape("embedding/kernel", 4)
    patch = side_of_patch(checkpoint, "embedding/kernel", height, patch_width)
    stem = {}
    if any(name.startswith("conv_root/") for name in names):
        stages = checkpoint.count(r"block(\d+)/")
        depths = tuple(checkpoint.count(rf"block{i + 1}/unit(\d+)/") for i in range(stages))
        stem = {"stem": "resnet", "stem_depths": depths, "stem_convention": "official"}
        channels = checkpoint.shape("conv_root/kernel", 4)[2]
        patch *= resnet_stride(depths)
    block = BLOCK_NAME.format(0)
    return ViTConfig(
        image_size=patch * side_of_grid(checkpoint, POSITIONS, "cls" in names),
        patch_size=patch,
        channels=channels,
        width=width,
        depth=checkpoint.count(BLOCK_NAME.format(r"(\d+)")),
        heads=checkpoint.shape(f"{block}{ATTENTION}/query/kernel", 3)[1],
        mlp_width=checkpoint.shape(f"{block}MlpBlock_3/Dense_0/kernel", 2)[1],
        classes=checkpoint.shape("head/kernel", 2)[1] if "head/kernel" in names else 0,
        pool="class_token" if "cls" in names else "mean",
        representation=checkpoint.shape("pre_logits/kernel", 2)[1] if "pre_logits/kernel" in names else 0,
        gelu="tanh",
        norm_eps=1e-6,
        preprocessing=Preprocessing(mean=(0.5,), std=(0.5,), resize="stretch", interpolation="bilinear"),
        **stem,
    )


GOOGLE = Source("Google", recognises, prepare, config, rules, resize="bilinear_corners")
