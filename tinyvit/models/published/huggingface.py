"""Hugging Face's ViT, DeiT, DINOv2 and DINOv2 with registers, in the names of their files and in the newer ones that
transformers uses in memory."""

import dataclasses
import re

from tinyvit.errors import InputError
from tinyvit.models.config import ViTConfig
from tinyvit.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from tinyvit.models.published.checkpoint import Checkpoint
from tinyvit.models.published.rules import (
    AS_IS,
    THREE_MATRICES,
    THREE_VECTORS,
    Rule,
    Rules,
    linear,
    norm,
    repeated,
    rule,
    torch_patches,
)
from tinyvit.models.published.source import Source, heads_of, side_of_grid, side_of_patch

PREFIXES = ("vit.", "deit.", "dinov2.", "dinov2_with_registers.")
# In memory -> in files. DINOv2's MLP has the same name in both.
RENAMED = {
    r"^layers\.": "encoder.layer.",
    r"\.attention\.q_proj\.": ".attention.attention.query.",
    r"\.attention\.k_proj\.": ".attention.attention.key.",
    r"\.attention\.v_proj\.": ".attention.attention.value.",
    r"\.attention\.o_proj\.": ".attention.output.dense.",
}
VIT_RENAMED = {r"\.mlp\.fc1\.": ".intermediate.dense.", r"\.mlp\.fc2\.": ".output.dense."}
PATCHES = "embeddings.patch_embeddings.projection"
POSITIONS = "embeddings.position_embeddings"
QKV = tuple(f"attention.attention.{part}" for part in ("query", "key", "value"))

# transformers' names of the activation -> ours.
GELUS = {
    "gelu": "exact",
    "gelu_python": "exact",
    "gelu_new": "tanh",
    "gelu_fast": "tanh",
    "gelu_pytorch_tanh": "tanh",
}

ATTENTION = {
    "attention.qkv.weight": Rule(tuple(f"{name}.weight" for name in QKV), THREE_MATRICES),
    "attention.qkv.bias": Rule(tuple(f"{name}.bias" for name in QKV), THREE_VECTORS),
    **linear("attention.out", "attention.output.dense"),
}
VIT_BLOCK = {
    **norm("norm1", "layernorm_before"),
    **ATTENTION,
    **norm("norm2", "layernorm_after"),
    **linear("mlp.linear1", "intermediate.dense"),
    **linear("mlp.linear2", "output.dense"),
}
DINOV2_BLOCK = {
    **norm("norm1", "norm1"),
    **ATTENTION,
    "layer_scale1.gain": rule(AS_IS, "layer_scale1.lambda1"),
    **norm("norm2", "norm2"),
    **linear("mlp.linear1", "mlp.fc1"),
    **linear("mlp.linear2", "mlp.fc2"),
    "layer_scale2.gain": rule(AS_IS, "layer_scale2.lambda1"),
}


def rules(config: ViTConfig) -> Rules:
    block = DINOV2_BLOCK if config.layer_scale else VIT_BLOCK
    return {
        "patch_embedding.projection.weight": rule(torch_patches(config.patch_size), f"{PATCHES}.weight"),
        "patch_embedding.projection.bias": rule(AS_IS, f"{PATCHES}.bias"),
        "class_token": rule(AS_IS, "embeddings.cls_token"),
        "distillation_token": rule(AS_IS, "embeddings.distillation_token"),
        "registers": rule(AS_IS, "embeddings.register_tokens"),
        "position.embedding": rule(AS_IS, POSITIONS),
        **repeated(block, "blocks.{}.", "encoder.layer.{}.", config.depth),
        **norm("norm", "layernorm"),
        **linear("representation", "pooler.dense"),
        **linear("head", "cls_classifier" if config.distillation else "classifier"),
        **linear("head_distillation", "distillation_classifier"),
    }


def _is_dinov2(names) -> bool:
    return any(".layer_scale1." in name for name in names)


def _is_huggingface(names) -> bool:
    return any(
        re.search(
            r"(^|\.)embeddings\.(cls_token|patch_embeddings|position_embeddings)|(^|\.)layers?\.0\.attention\.", name
        )
        for name in names
    )


def prepare(checkpoint: Checkpoint, with_head: bool) -> Checkpoint:
    dinov2 = _is_dinov2(checkpoint.arrays)
    renamed = RENAMED if dinov2 else {**RENAMED, **VIT_RENAMED}
    arrays = {}
    for name, array in checkpoint.arrays.items():
        name = next((name.removeprefix(prefix) for prefix in PREFIXES if name.startswith(prefix)), name)
        for pattern, new in renamed.items():
            name = re.sub(pattern, new, name)
        if name in arrays:
            raise InputError(f"{checkpoint.path}: {array.name!r} and {arrays[name].name!r} are the same parameter")
        arrays[name] = array
    # Of the training of DINOv2, where it stands for patches that are to be guessed.
    arrays.pop("embeddings.mask_token", None)
    distilled = "embeddings.distillation_token" in arrays
    if distilled or "classifier.weight" in arrays:
        # transformers does not use it either: a classifier reads the token itself.
        arrays = {name: array for name, array in arrays.items() if not name.startswith("pooler.")}
    if (dinov2 or distilled) and "classifier.weight" in arrays:
        # DINOv2's reads the class token and the mean of the patches side by side, DeiT's the class token alone.
        if with_head:
            raise InputError(
                f"{checkpoint.path}: {'classifier.weight'!r} is a head of a kind that tinyvit does not have: "
                f"load it with classes=0 for the model without a head, or another number for a new head"
            )
        arrays = {name: array for name, array in arrays.items() if not name.startswith("classifier.")}
    gated = next(
        (array.name for name, array in arrays.items() if re.search(r"\.mlp\.(weights_in|gate_proj)\.", name)), ""
    )
    if gated:
        raise InputError(
            f"{checkpoint.path}: {gated!r} is of a gated MLP (SwiGLU, as in DINOv2-giant), which tinyvit does not have"
        )
    return dataclasses.replace(checkpoint, arrays=arrays)


def config(checkpoint: Checkpoint) -> ViTConfig:
    names = checkpoint.arrays
    dinov2, distilled = _is_dinov2(names), "embeddings.distillation_token" in names
    width, channels, height, patch_width = checkpoint.shape(f"{PATCHES}.weight", 4)
    patch = side_of_patch(checkpoint, f"{PATCHES}.weight", height, patch_width)
    hidden = "encoder.layer.0.mlp.fc1.weight" if dinov2 else "encoder.layer.0.intermediate.dense.weight"
    head = "cls_classifier.weight" if distilled else "classifier.weight"
    said = checkpoint.said
    heads = (
        said("num_attention_heads", 1) if "num_attention_heads" in checkpoint.config else heads_of(checkpoint, width)
    )
    return ViTConfig(
        image_size=patch * side_of_grid(checkpoint, POSITIONS, 1 + distilled),
        patch_size=patch,
        channels=channels,
        width=width,
        depth=checkpoint.count(r"encoder\.layer\.(\d+)\."),
        heads=heads,
        mlp_width=checkpoint.shape(hidden, 2)[0],
        classes=checkpoint.shape(head, 2)[0] if head in names else 0,
        representation=checkpoint.shape("pooler.dense.weight", 2)[0] if "pooler.dense.weight" in names else 0,
        gelu=_gelu(checkpoint),
        norm_eps=said("layer_norm_eps", 1e-6 if dinov2 else 1e-12),
        distillation=distilled,
        registers=checkpoint.shape("embeddings.register_tokens", 3)[1] if "embeddings.register_tokens" in names else 0,
        layer_scale=said("layerscale_value", 1.0) if dinov2 else 0.0,
        preprocessing=_preprocessing(checkpoint, dinov2, distilled),
    )


def _gelu(checkpoint: Checkpoint) -> str:
    activation = str(checkpoint.config.get("hidden_act", "gelu"))
    if activation not in GELUS:
        raise InputError(
            f"{checkpoint.path.parent / 'config.json'}: hidden_act is {activation!r}, which tinyvit does not have: "
            f"known are {', '.join(GELUS)}"
        )
    return GELUS[activation]


def _preprocessing(checkpoint: Checkpoint, dinov2: bool, distilled: bool) -> Preprocessing:
    """As preprocessor_config.json says; without one, as transformers does it for this model."""
    if not checkpoint.preprocessor:
        if dinov2:
            return Preprocessing(IMAGENET_MEAN, IMAGENET_STD, resize="shorter_side", crop=224 / 256)
        if distilled:
            return Preprocessing(IMAGENET_MEAN, IMAGENET_STD, resize="stretch", crop=224 / 256)
        return Preprocessing((0.5,), (0.5,), resize="stretch", interpolation="bilinear")
    said = checkpoint.preprocessor
    try:
        size, crop = said.get("size", 224), said.get("crop_size")
        by_shorter_side = isinstance(size, dict) and "shortest_edge" in size
        resized, cropped = _side(size), _side(crop) if said.get("do_center_crop") and crop else _side(size)
        return Preprocessing(
            mean=tuple(said.get("image_mean", (0.5,))) if said.get("do_normalize", True) else (0.0,),
            std=tuple(said.get("image_std", (0.5,))) if said.get("do_normalize", True) else (1.0,),
            resize="shorter_side" if by_shorter_side else "stretch",
            crop=min(cropped / resized, 1.0),
            interpolation="bicubic" if said.get("resample", 2) == 3 else "bilinear",
        )
    except (TypeError, KeyError, ZeroDivisionError) as error:
        raise InputError(
            f"{checkpoint.path.parent / 'preprocessor_config.json'} makes no sense ({error}): leave it out"
        ) from error


def _side(size) -> int:
    """224, {"height": 224, "width": 224} or {"shortest_edge": 224}."""
    return size.get("shortest_edge", size.get("height")) if isinstance(size, dict) else size


VIT = Source(
    "Hugging Face's ViT",
    lambda names: _is_huggingface(names) and not _is_dinov2(names),
    prepare,
    config,
    rules,
    "bicubic",
)
DINOV2 = Source(
    "Hugging Face's DINOv2",
    lambda names: _is_dinov2(names) and not any(name.endswith("register_tokens") for name in names),
    prepare,
    config,
    rules,
    "bicubic",
)
DINOV2_WITH_REGISTERS = Source(
    "Hugging Face's DINOv2 with registers", _is_dinov2, prepare, config, rules, "bicubic_antialias"
)
