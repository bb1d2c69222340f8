"""The paper's position embeddings (section 3.1, appendix D.4), each giving (1, N, D) to add to the tokens.

Where there is a class token it stands first, then a distillation token. Registers have no position.
"""

import numpy as np

from tinyvit.autograd import Tensor, broadcast_to, concatenate
from tinyvit.models.config import ViTConfig
from tinyvit.nn import Module, initial


class LearnedPosition(Module):
    """A vector for each position of the sequence."""

    def __init__(self, config: ViTConfig, random: np.random.Generator, std: float):
        self.embedding = initial.normal(random, std, 1, config.positions, config.width)

    def __call__(self) -> Tensor:
        return self.embedding


class LearnedPosition2D(Module):
    """A vector of D/2 for each row and each column of the grid, joined; a whole one for the class token (and one for
    the distillation token)."""

    def __init__(self, config: ViTConfig, random: np.random.Generator, std: float):
        self.grid, half = config.grid, config.width // 2
        self.rows = initial.normal(random, std, self.grid, 1, half)
        self.columns = initial.normal(random, std, 1, self.grid, half)
        first = config.positions - self.grid**2
        self.class_token = initial.normal(random, std, 1, first, config.width) if first else None

    def __call__(self) -> Tensor:
        shape = (self.grid, self.grid, self.rows.shape[2])
        patches = concatenate([broadcast_to(self.rows, shape), broadcast_to(self.columns, shape)], axis=2)
        patches = patches.reshape(1, self.grid**2, 2 * shape[2])
        return patches if self.class_token is None else concatenate([self.class_token, patches], axis=1)


class SinusoidalPosition(Module):
    """Fixed: sines and cosines of row and column at D/4 wavelengths from 2 pi to 20000 pi (Vaswani et al.,
    2017), joined; zeros for the class token. Nothing is learned."""

    def __init__(self, config: ViTConfig):
        quarter = config.width // 4
        frequencies = 10_000.0 ** -(np.arange(quarter) / max(quarter - 1, 1))
        angles = np.arange(config.grid)[:, None] * frequencies
        one_axis = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
        shape = (config.grid, config.grid, 2 * quarter)
        patches = np.concatenate(
            [np.broadcast_to(one_axis[:, None], shape), np.broadcast_to(one_axis[None], shape)], axis=2
        )
        class_token = np.zeros((config.positions - config.grid**2, config.width))
        sequence = np.concatenate([class_token, patches.reshape(-1, config.width)])
        self.embedding = Tensor(sequence[None].astype(np.float32))

    def __call__(self) -> Tensor:
        return self.embedding


def position_embedding(config: ViTConfig, random: np.random.Generator, std: float) -> Module | None:
    """The position embedding that ``config`` names, a learned one drawn with standard deviation ``std``."""
    if config.position_embedding == "none":
        return None
    if config.position_embedding == "sinusoidal":
        return SinusoidalPosition(config)
    return {"learned": LearnedPosition, "learned_2d": LearnedPosition2D}[config.position_embedding](config, random, std)
