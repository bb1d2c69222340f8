"""Small ViTs for tests, images for them, and the options to try."""

import dataclasses

import numpy as np

from tinyvit.models import ViT, ViTConfig

SMALL = ViTConfig(image_size=12, patch_size=4, channels=2, width=24, depth=3, heads=2, mlp_width=40, classes=5)
OPTIONS = [
    {},
    {"pool": "mean"},
    {"position_embedding": "learned_2d"},
    {"position_embedding": "learned_2d", "pool": "mean"},
    {"position_embedding": "sinusoidal"},
    {"position_embedding": "none"},
    {"representation": 7},
    {"gelu": "exact"},
    {"norm_eps": 1e-12},
    {"dropout": 0.2},
    {"stochastic_depth": 0.4},
    {"dropout": 0.1, "stochastic_depth": 0.2, "pool": "mean", "representation": 7, "patch_size": 3},
    {"heads": 1},
    {"depth": 1, "stochastic_depth": 0.3},
    {"patch_size": 12},
    {"distillation": True, "position_embedding": "learned_2d"},
    {"registers": 2, "layer_scale": 0.1},
    {"registers": 2, "pool": "mean", "position_embedding": "sinusoidal"},
    {"stem": "resnet", "stem_depths": (1,)},
    {"stem": "resnet", "stem_depths": (), "stem_convention": "timm", "distillation": True, "registers": 1},
]


def small(**changes) -> ViTConfig:
    return dataclasses.replace(SMALL, **changes)


def images(config: ViTConfig = SMALL, count: int = 6) -> np.ndarray:
    random = np.random.default_rng(4)
    size = (count, config.image_size, config.image_size, config.channels)
    return random.uniform(-1, 1, size).astype(np.float32)


def targets(config: ViTConfig = SMALL, count: int = 6) -> np.ndarray:
    return np.eye(config.classes, dtype=np.float32)[np.arange(count) % config.classes]


def randomised(config: ViTConfig) -> ViT:
    """A model in which no parameter is zero, as after training."""
    model = ViT(config)
    random = np.random.default_rng(9)
    for parameter in model.parameters():
        parameter.data = (parameter.data + 0.1 * random.standard_normal(parameter.shape)).astype(np.float32)
    return model


def name_of(changes: dict) -> str:
    return ", ".join(f"{field} {value}" for field, value in changes.items()) or "as in the paper"
