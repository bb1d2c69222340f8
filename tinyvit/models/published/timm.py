"""timm's ViTs: plain, without class token, DeiT with its distillation token, LayerScale, registers, hybrid.

Also the original PyTorch files of DeiT and DINOv2, whose names timm kept.
"""

import dataclasses
import re

import numpy as np

from tinyvit.errors import InputError
from tinyvit.models.config import ViTConfig, resnet_stride
from tinyvit.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from tinyvit.models.published.checkpoint import Checkpoint
from tinyvit.models.published.rules import AS_IS, Rules, linear, norm, repeated, rule, torch_patches
from tinyvit.models.published.source import Source, heads_of, is_square, side_of_grid, side_of_patch
from tinyvit.models.published.stored import StoredArray, derived

RENAMED = {r"^register_tokens$": "reg_token", r"\.gamma_([12])$": r".ls\1.gamma"}
# Of DINOv2's training, where it stands for patches that are to be guessed.
IGNORED = ("mask_token",)
# (width, patch size) -> heads of the models without class token. Those of SigLIP look alike but have another GELU.
HEADS_WITHOUT_CLASS_TOKEN = {(768, 16): 16, (1280, 14): 16, (1280, 16): 16, (1408, 16): 16}
# timm's names of the activation -> ours.
GELUS = {"gelu": "exact", "gelu_tanh": "tanh"}

BLOCK = {
    **norm("norm1", "norm1"),
    **linear("attention.qkv", "attn.qkv"),
    **linear("attention.out", "attn.proj"),
    "layer_scale1.gain": rule(AS_IS, "ls1.gamma"),
    **norm("norm2", "norm2"),
    **linear("mlp.linear1", "mlp.fc1"),
    **linear("mlp.linear2", "mlp.fc2"),
    "layer_scale2.gain": rule(AS_IS, "ls2.gamma"),
}

BACKBONE = "patch_embed.backbone."
# Of a ResNet's bottleneck.
UNIT = {
    "projection.weight": rule(torch_patches(1), "downsample.conv.weight"),
    **norm("projection_norm", "downsample.norm"),
    "convolution1.weight": rule(torch_patches(1), "conv1.weight"),
    **norm("norm1", "norm1"),
    "convolution2.weight": rule(torch_patches(3), "conv2.weight"),
    **norm("norm2", "norm2"),
    "convolution3.weight": rule(torch_patches(1), "conv3.weight"),
    **norm("norm3", "norm3"),
}


def rules(config: ViTConfig) -> Rules:
    patch = config.patch_size // config.stem_stride
    return {
        **stem_rules(config.stem_depths),
        "patch_embedding.projection.weight": rule(torch_patches(patch), "patch_embed.proj.weight"),
        "patch_embedding.projection.bias": rule(AS_IS, "patch_embed.proj.bias"),
        "class_token": rule(AS_IS, "cls_token"),
        "distillation_token": rule(AS_IS, "dist_token"),
        "registers": rule(AS_IS, "reg_token"),
        "position.embedding": rule(AS_IS, "pos_embed"),
        **repeated(BLOCK, "blocks.{}.", "blocks.{}.", config.depth),
        **norm("norm", "norm"),
        **linear("representation", "pre_logits.fc"),
        **linear("head", "head"),
        **linear("head_distillation", "head_dist"),
    }


def stem_rules(depths: tuple[int, ...]) -> Rules:
    """A ResNet; one without stages has no "stem" in its names."""
    root = f"{BACKBONE}stem." if depths else BACKBONE
    found = {
        "stem.root.weight": rule(torch_patches(7), f"{root}conv.weight"),
        **norm("stem.root_norm", f"{root}norm"),
    }
    for i, depth in enumerate(depths):
        found.update(repeated(UNIT, f"stem.stages.{i}.units.{{}}.", f"{BACKBONE}stages.{i}.blocks.{{}}.", depth))
    return found


def recognises(names) -> bool:
    return any(
        re.match(r"(cls_token|pos_embed|patch_embed\.proj\.weight|blocks\.0\.attn\..*)$", name) for name in names
    )


def prepare(checkpoint: Checkpoint, with_head: bool) -> Checkpoint:
    arrays = {}
    for name, array in checkpoint.arrays.items():
        if name not in IGNORED:
            for pattern, new in RENAMED.items():
                name = re.sub(pattern, new, name)
            arrays[name] = array
    return dataclasses.replace(checkpoint, arrays=_with_all_positions(checkpoint, arrays))


def _with_all_positions(checkpoint: Checkpoint, arrays: dict[str, StoredArray]) -> dict[str, StoredArray]:
    """Give the position embedding a row for the class and distillation tokens and none for registers, as tinyvit's.

    timm has models whose position embedding is the patches' alone, and can have registers with positions.
    """
    if not {"pos_embed", "patch_embed.proj.weight"} <= arrays.keys() or len(arrays["pos_embed"].shape) != 3:
        return arrays
    positions = arrays["pos_embed"]
    _, rows, width = positions.shape
    tokens = ("cls_token" in arrays) + ("dist_token" in arrays)
    registers = arrays["reg_token"].shape[1] if "reg_token" in arrays else 0
    if is_square(rows) and tokens:
        zeros = np.zeros((1, tokens, width), np.float32)
        whole = derived(
            positions.name, (1, rows + tokens, width), [positions], lambda patches: np.concatenate([zeros, patches], 1)
        )
        return {**arrays, "pos_embed": whole}
    if registers and not is_square(rows - tokens) and is_square(rows - tokens - registers):
        theirs = np.s_[tokens : tokens + registers]
        moved = derived(
            "reg_token",
            (1, registers, width),
            [arrays["reg_token"], positions],
            lambda own, all_: own + all_[:, theirs],
        )
        rest = derived(
            "pos_embed", (1, rows - registers, width), [positions], lambda all_: np.delete(all_, theirs, axis=1)
        )
        return {**arrays, "reg_token": moved, "pos_embed": rest}
    return arrays


def config(checkpoint: Checkpoint) -> ViTConfig:
    names = checkpoint.arrays
    width, channels, height, patch_width = checkpoint.shape("patch_embed.proj.weight", 4)
    patch = side_of_patch(checkpoint, "patch_embed.proj.weight", height, patch_width)
    stem = {}
    if any(name.startswith(BACKBONE) for name in names):
        stages = checkpoint.count(rf"{BACKBONE}stages\.(\d+)\.")
        depths = tuple(checkpoint.count(rf"{BACKBONE}stages\.{i}\.blocks\.(\d+)\.") for i in range(stages))
        stem = {"stem": "resnet", "stem_depths": depths, "stem_convention": "timm"}
        channels = checkpoint.shape(f"{BACKBONE}{'stem.' if depths else ''}conv.weight", 4)[1]
        patch *= resnet_stride(depths)
    tokens = ("cls_token" in names) + ("dist_token" in names)
    image_size = patch * side_of_grid(checkpoint, "pos_embed", tokens)
    _refuse_variants(checkpoint)
    return ViTConfig(
        image_size=image_size,
        patch_size=patch,
        channels=channels,
        width=width,
        depth=checkpoint.count(r"blocks\.(\d+)\."),
        mlp_width=checkpoint.shape("blocks.0.mlp.fc1.weight", 2)[0],
        classes=checkpoint.shape("head.weight", 2)[0] if "head.weight" in names else 0,
        pool="class_token" if "cls_token" in names else "mean",
        representation=checkpoint.shape("pre_logits.fc.weight", 2)[0] if "pre_logits.fc.weight" in names else 0,
        norm_eps=1e-6,
        distillation="dist_token" in names,
        registers=checkpoint.shape("reg_token", 3)[1] if "reg_token" in names else 0,
        layer_scale=1e-5 if "blocks.0.ls1.gamma" in names else 0.0,
        preprocessing=_preprocessing(checkpoint, image_size, channels),
        **_heads_and_gelu(checkpoint, width, patch),
        **stem,
    )


def _heads_and_gelu(checkpoint: Checkpoint, width: int, patch: int) -> dict:
    """As the arguments in config.json say, otherwise as the published models of this shape have them."""
    said = checkpoint.config.get("model_args")
    said = said if isinstance(said, dict) else {}
    activation = str(said.get("act_layer", "gelu"))
    if activation not in GELUS or "norm_layer" in said:
        raise InputError(
            f"{checkpoint.path.parent / 'config.json'}: act_layer is {activation!r} and norm_layer "
            f"{said.get('norm_layer')!r}, expected {' or '.join(GELUS)} and none: tinyvit has no others"
        )
    if isinstance(said.get("num_heads"), int):
        return {"heads": said["num_heads"], "gelu": GELUS[activation]}
    if "cls_token" in checkpoint.arrays:
        return {"heads": heads_of(checkpoint, width), "gelu": GELUS[activation]}
    if (width, patch) not in HEADS_WITHOUT_CLASS_TOKEN:
        raise InputError(
            f"{checkpoint.path} has no 'cls_token', and does not say how many heads its model of width {width} and "
            f"patch size {patch} has nor which GELU: tinyvit knows it of timm's vit_..._gap models only"
        )
    return {"heads": HEADS_WITHOUT_CLASS_TOKEN[width, patch], "gelu": GELUS[activation]}


def _refuse_variants(checkpoint: Checkpoint) -> None:
    """Models of timm's VisionTransformer that compute something that tinyvit does not."""
    names = checkpoint.arrays
    if "fc_norm.weight" in names:
        raise InputError(
            f"{checkpoint.path}: {'fc_norm.weight'!r} is of a model that normalises after pooling, "
            f"which tinyvit's does not"
        )
    hidden, _ = checkpoint.shape("blocks.0.mlp.fc1.weight", 2)
    _, used = checkpoint.shape("blocks.0.mlp.fc2.weight", 2)
    if hidden != used:
        raise InputError(
            f"{checkpoint.path}: {'blocks.0.mlp.fc1.weight'!r} gives {hidden} numbers of which the next layer takes "
            f"{used}: it is a gated MLP (SwiGLU, as in DINOv2-giant), which tinyvit does not have"
        )
    pooling = checkpoint.config.get("global_pool", "token")
    if "cls_token" in names and pooling != "token":
        raise InputError(f"{checkpoint.path} pools by {pooling!r} though it has a class token, which tinyvit does not")


def _preprocessing(checkpoint: Checkpoint, image_size: int, channels: int) -> Preprocessing:
    """As config.json says, otherwise as is the custom: ImageNet's mean and std for DeiT and DINOv2."""
    imagenet = channels == 3 and ("dist_token" in checkpoint.arrays or "blocks.0.ls1.gamma" in checkpoint.arrays)
    said = checkpoint.config.get("pretrained_cfg", {})
    try:
        interpolation = said.get("interpolation", "bicubic")
        return Preprocessing(
            mean=tuple(said.get("mean", IMAGENET_MEAN if imagenet else (0.5,))),
            std=tuple(said.get("std", IMAGENET_STD if imagenet else (0.5,))),
            resize="stretch" if said.get("crop_mode") == "squash" else "shorter_side",
            crop=float(said.get("crop_pct", 0.9 if image_size < 384 else 1.0)),
            interpolation=interpolation if interpolation == "bilinear" else "bicubic",
        )
    except (TypeError, AttributeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{checkpoint.path.parent / 'config.json'}: pretrained_cfg makes no sense ({error})"
        ) from error


TIMM = Source("timm", recognises, prepare, config, rules, resize="bicubic_antialias")
