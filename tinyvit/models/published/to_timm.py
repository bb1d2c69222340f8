"""A model as timm has it."""

from collections.abc import Mapping, Sequence

import numpy as np

from tinyvit.errors import InputError
from tinyvit.models.config import ViTConfig
from tinyvit.models.published.rules import arrays_of
from tinyvit.models.published.timm import rules

# Stages of the ResNet -> the model of timm's that has it.
HYBRIDS = {
    (): "vit_tiny_r_s16_p8_224",
    (2, 2, 2, 2): "vit_small_r26_s32_224",
    (3, 4, 9): "vit_base_r50_s16_224",
    (3, 4, 6, 3): "vit_large_r50_s32_224",
}
NORM_EPS = 1e-6


def arrays(parameters: Mapping[str, np.ndarray], config: ViTConfig) -> dict[str, np.ndarray]:
    """Parameters by timm's names. Raises InputError for a model that timm does not have."""
    if config.representation:
        raise InputError(
            "timm has no representation layer, and this model has one: save it as tinyvit, or load it with classes=N "
            "for a new head, which leaves it out"
        )
    if config.distillation and config.registers:
        raise InputError("timm has no model with both a distillation token and registers: save it as tinyvit")
    made = arrays_of(parameters, rules(config))
    if config.registers and config.pool == "class_token":
        # timm's models with registers give positions to the patches alone.
        made["cls_token"] = made["cls_token"] + made["pos_embed"][:, :1]
        made["pos_embed"] = made["pos_embed"][:, 1:]
    return made


def notes(config: ViTConfig) -> list[str]:
    found = []
    if config.norm_eps != NORM_EPS:
        found.append(
            f"timm's norms add {NORM_EPS} to the variance, this model's {config.norm_eps}: its answers will differ a "
            f"little unless timm's model is made with this number"
        )
    if config.stem == "resnet" and config.stem_convention != "timm":
        found.append("timm's ResNet divides by other small numbers than the official one: its answers differ a little")
    return found


def texts(config: ViTConfig, class_names: Sequence[str]) -> dict[str, dict]:
    """config.json, with which timm makes this very model. Raises InputError for a ResNet that timm does not have."""
    values = {
        "architecture": _architecture(config),
        "num_classes": config.classes,
        "num_features": config.width,
        "global_pool": "token" if config.pool == "class_token" else "avg",
        "model_args": _arguments(config),
        "pretrained_cfg": _pretrained(config),
    }
    if class_names:
        values["label_names"] = list(class_names)
    return {"config.json": values}


def _architecture(config: ViTConfig) -> str:
    """Any of the right kind: the arguments say the rest."""
    if config.stem == "patches":
        return "deit_base_distilled_patch16_224" if config.distillation else "vit_base_patch16_224"
    if config.stem_depths not in HYBRIDS or config.distillation:
        raise InputError(
            f"timm has no hybrid with a ResNet of stages {config.stem_depths}, nor with distillation: give a file that "
            f"ends in .safetensors, for a model of your own making"
        )
    return HYBRIDS[config.stem_depths]


def _arguments(config: ViTConfig) -> dict:
    found = {
        "img_size": config.image_size,
        "patch_size": config.patch_size // config.stem_stride,
        "in_chans": config.channels,
        "num_classes": config.classes,
        "embed_dim": config.width,
        "depth": config.depth,
        "num_heads": config.heads,
        # timm takes the whole part of width times this.
        "mlp_ratio": (config.mlp_width + 0.5) / config.width,
        "class_token": config.pool == "class_token",
        "act_layer": {"exact": "gelu", "tanh": "gelu_tanh"}[config.gelu],
    }
    if config.pool == "mean":
        found |= {"global_pool": "avg", "fc_norm": False}
    if config.registers:
        found |= {"reg_tokens": config.registers, "no_embed_class": True}
    if config.layer_scale:
        found["init_values"] = config.layer_scale
    return found


def _pretrained(config: ViTConfig) -> dict:
    chosen, channels = config.preprocessing, config.channels
    return {
        "input_size": [channels, config.image_size, config.image_size],
        "fixed_input_size": True,
        "interpolation": chosen.interpolation,
        "crop_pct": chosen.crop,
        "crop_mode": "squash" if chosen.resize == "stretch" else "center",
        "mean": [*chosen.mean] * (channels // len(chosen.mean)),
        "std": [*chosen.std] * (channels // len(chosen.std)),
        "num_classes": config.classes,
        "first_conv": "patch_embed.proj",
        "classifier": ["head", "head_dist"] if config.distillation else "head",
    }
