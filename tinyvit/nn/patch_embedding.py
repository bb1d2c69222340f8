"""From an image to a sequence of tokens."""

import numpy as np

from tinyvit.autograd import Tensor
from tinyvit.nn import initial
from tinyvit.nn.linear import Linear
from tinyvit.nn.module import Module


class PatchEmbedding(Module):
    """Cut images into P x P patches and project each, flattened, to width D (equation 1's x_p E).

    images (B, H, W, C) -> tokens (B, H/P * W/P, D), row by row. A patch is flattened as (row, column, channel), so the
    weight (P P C, D) is the official convolution kernel (P, P, C, D) reshaped. For pixels of variance 1 the tokens
    start with standard deviation ``std``.
    """

    def __init__(self, patch_size: int, channels: int, width: int, random: np.random.Generator, std: float = 1.0):
        self.patch_size = patch_size
        self.projection = Linear(initial.lecun_normal(random, patch_size**2 * channels, width, std))

    def __call__(self, images: Tensor) -> Tensor:
        batch, height, width, channels = images.shape
        p = self.patch_size
        patches = images.reshape(batch, height // p, p, width // p, p, channels).transpose(0, 1, 3, 2, 4, 5)
        return self.projection(patches.reshape(batch, (height // p) * (width // p), p * p * channels))
