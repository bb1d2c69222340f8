"""Convolution with weight standardisation, and group norm: what BiT puts in the place of batch norm.

Kolesnikov et al., 2020, "Big Transfer"; Qiao et al., 2019, "Weight standardization".
"""

import numpy as np

from tinyvit.autograd import Tensor, convolution, group_norm, sqrt
from tinyvit.nn import initial
from tinyvit.nn.module import Module


class StandardisedConvolution(Module):
    """A convolution whose weights, for each output, are brought to mean 0 and variance 1 before they are used.

    x (B, H, W, C) -> (B, H', W', D). The weight (size size C, D) is the official kernel (size, size, C, D) reshaped, as
    in :class:`PatchEmbedding`. No bias: a norm follows.

    Args:
        size, stride: of the square window.
        inputs, outputs: C and D.
        convention: how a division by zero is kept off. "official": (w - mean) / (std + 1e-5); "timm":
            (w - mean) / sqrt(variance + 1e-8).
    """

    def __init__(
        self, size: int, stride: int, inputs: int, outputs: int, *, convention: str, random: np.random.Generator
    ):
        self.shape, self.stride, self.convention = (size, size, inputs, outputs), stride, convention
        self.weight = initial.lecun_normal(random, size**2 * inputs, outputs)

    def __call__(self, x: Tensor) -> Tensor:
        centred = self.weight - self.weight.mean(axis=0)
        variance = (centred * centred).mean(axis=0)
        std = sqrt(variance) + 1e-5 if self.convention == "official" else sqrt(variance + 1e-8)
        return convolution(x, (centred / std).reshape(self.shape), self.stride)


class GroupNorm(Module):
    """32 groups of the channels of x (B, H, W, C), each to mean 0 and variance 1; then times gamma plus beta (C,).

    Args:
        channels: C.
        eps: what is added to the variance.
        gamma: what all of it starts at.
    """

    GROUPS = 32

    def __init__(self, channels: int, eps: float, gamma: float = 1.0):
        self.eps = eps
        self.gamma = initial.constant(gamma, channels)
        self.beta = initial.zeros(channels)

    def __call__(self, x: Tensor) -> Tensor:
        return group_norm(x, self.gamma, self.beta, self.GROUPS, self.eps)
