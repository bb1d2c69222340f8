"""A model as Hugging Face's transformers has it: in the names of its files, which every version reads."""

from collections.abc import Mapping, Sequence

import numpy as np

from tinyvit.errors import InputError
from tinyvit.models.config import ViTConfig
from tinyvit.models.published.huggingface import rules
from tinyvit.models.published.rules import arrays_of

ACTIVATIONS = {"exact": "gelu", "tanh": "gelu_pytorch_tanh"}


def arrays(parameters: Mapping[str, np.ndarray], config: ViTConfig) -> dict[str, np.ndarray]:
    """Parameters by transformers' names. Raises InputError for a model that transformers does not have."""
    _check(config)
    made = arrays_of(parameters, rules(config))
    if config.layer_scale:
        # Asked for when the file is read, and only used in DINOv2's training.
        made["embeddings.mask_token"] = np.zeros((1, config.width), np.float32)
    if config.classes:
        prefix = f"{_kind(config)[0]}."
        made = {name if "classifier." in name else prefix + name: array for name, array in made.items()}
    return made


def notes(config: ViTConfig) -> list[str]:
    return []


def texts(config: ViTConfig, class_names: Sequence[str]) -> dict[str, dict]:
    """config.json and preprocessor_config.json."""
    kind, model = _kind(config)
    values = {
        "model_type": kind,
        "architectures": [model],
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "intermediate_size": config.mlp_width,
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "num_channels": config.channels,
        "hidden_act": ACTIVATIONS[config.gelu],
        "layer_norm_eps": config.norm_eps,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": 0.0,
        "qkv_bias": True,
    }
    if config.layer_scale:
        del values["intermediate_size"]
        values |= {"mlp_ratio": config.mlp_width // config.width, "layerscale_value": config.layer_scale}
        values |= {"use_swiglu_ffn": False, "num_register_tokens": config.registers}
    if config.representation:
        values |= {"pooler_output_size": config.representation, "pooler_act": "tanh"}
    if config.classes:
        names = list(class_names) or [f"LABEL_{i}" for i in range(config.classes)]
        values["id2label"] = {str(i): name for i, name in enumerate(names)}
        values["label2id"] = {name: i for i, name in enumerate(names)}
    return {"config.json": values, "preprocessor_config.json": _preprocessor(config)}


def _check(config: ViTConfig) -> None:
    for refused, why in (
        (config.pool == "mean", "transformers' ViTs read the class token, and this one has none"),
        (config.stem == "resnet", "transformers' ViT has no ResNet stem"),
        (config.representation and config.classes, "transformers has no layer between its ViT and a classifier"),
        (config.distillation and config.layer_scale, "transformers' DeiT has no LayerScale"),
        (config.registers and not config.layer_scale, "transformers' only model with registers has LayerScale too"),
        (config.layer_scale and config.representation, "transformers' DINOv2 has no representation layer"),
        (
            config.layer_scale and config.classes,
            "transformers' classifier for DINOv2 reads the patches too; load it with classes=0 to save it without head",
        ),
        (
            config.layer_scale and config.mlp_width % config.width,
            f"the MLP of transformers' DINOv2 is a multiple of the width {config.width}, not {config.mlp_width}",
        ),
    ):
        if refused:
            raise InputError(f"transformers does not have this model: {why}; timm or tinyvit may have it")


def _kind(config: ViTConfig) -> tuple[str, str]:
    """transformers' type and class."""
    if config.registers:
        return "dinov2_with_registers", "Dinov2WithRegistersModel"
    if config.layer_scale:
        return "dinov2", "Dinov2Model"
    if config.distillation:
        return "deit", "DeiTForImageClassificationWithTeacher" if config.classes else "DeiTModel"
    return "vit", "ViTForImageClassification" if config.classes else "ViTModel"


def _preprocessor(config: ViTConfig) -> dict:
    chosen, size = config.preprocessing, config.image_size
    resized = round(size / chosen.crop)
    stretch = chosen.resize == "stretch"
    return {
        "image_processor_type": "ViTImageProcessor" if stretch and resized == size else "BitImageProcessor",
        "do_resize": True,
        "size": {"height": resized, "width": resized} if stretch else {"shortest_edge": resized},
        "resample": {"bilinear": 2, "bicubic": 3}[chosen.interpolation],
        "do_center_crop": not stretch or resized != size,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [*chosen.mean] * (config.channels // len(chosen.mean)),
        "image_std": [*chosen.std] * (config.channels // len(chosen.std)),
    }
