"""What the tests of training share: models and data small enough for a step to take a millisecond."""

import numpy as np

from tinyvit.models import ViT, ViTConfig
from tinyvit.training import Recipe
from tinyvit.training.step import TrainStep
from tinyvit.training.workers import Workers

CONFIG = ViTConfig(image_size=8, patch_size=4, channels=1, width=12, depth=2, heads=3, mlp_width=20, classes=5)


def batch(count: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random images (count, 8, 8, 1) and labels (count,)."""
    random = np.random.default_rng(seed)
    images = random.uniform(-1, 1, (count, 8, 8, 1)).astype(np.float32)
    return images, random.integers(0, CONFIG.classes, count)


def model(seed: int = 0, **changes) -> ViT:
    """A small ViT in which no parameter is zero, so that a gradient reaches all of them from the first step."""
    made = ViT(CONFIG if not changes else ViTConfig(**{**vars(CONFIG), **changes}), seed=seed)
    random = np.random.default_rng(seed)
    for parameter in made.parameters():
        parameter.data = (parameter.data + random.normal(0, 0.1, parameter.shape)).astype(np.float32)
    return made


def trained(steps: int, recipe: Recipe, *, count: int = 12, learning_rate: float = 1e-2, **changes) -> TrainStep:
    """The state after so many steps, each on a batch of its own."""
    with Workers(recipe.workers) as workers:
        state = TrainStep(model(**changes), recipe, workers)
        for step in range(steps):
            state(*batch(count, seed=step), step, learning_rate)
    return state
