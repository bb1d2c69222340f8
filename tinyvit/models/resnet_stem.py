"""The ResNet that a hybrid ViT cuts its patches from (paper, section 3.1): BiT's, with activations after the norms."""

import numpy as np

from tinyvit.autograd import Tensor, max_pool, relu
from tinyvit.models.config import ViTConfig
from tinyvit.nn import GroupNorm, Module, StandardisedConvolution

# What group norm adds to the variance.
NORM_EPS = {"official": 1e-6, "timm": 1e-5}


class ResNetStem(Module):
    """Images (B, H, W, C) -> feature maps (B, H / s, W / s, D): s = 16 and D = 1024 for three stages.

    A 7 x 7 convolution and a max pool, stride 2 each; then the stages. The first stage gives 256 channels and keeps the
    size; each further one doubles the channels and halves the size.

    The official code and timm differ in the two small numbers that keep divisions by zero off, which shows in the
    fourth digit of the features: ``config.stem_convention`` says whose they are.

    Attributes:
        channels: D.
    """

    def __init__(self, config: ViTConfig, random: np.random.Generator):
        convention = config.stem_convention
        self.channels = 64
        self.root = StandardisedConvolution(7, 2, config.channels, self.channels, convention=convention, random=random)
        self.root_norm = GroupNorm(self.channels, NORM_EPS[convention])
        self.stages = []
        for i, depth in enumerate(config.stem_depths):
            outputs, stride = 256 * 2**i, 1 if i == 0 else 2
            self.stages.append(Stage(depth, stride, self.channels, outputs, convention, random))
            self.channels = outputs

    def __call__(self, images: Tensor) -> Tensor:
        x = max_pool(relu(self.root_norm(self.root(images))), size=3, stride=2)
        for stage in self.stages:
            x = stage(x)
        return x


class Stage(Module):
    """Bottlenecks one after the other; the first changes size and channels."""

    def __init__(
        self, depth: int, stride: int, inputs: int, outputs: int, convention: str, random: np.random.Generator
    ):
        self.units = [
            Bottleneck(1 if i else stride, outputs if i else inputs, outputs, convention, random) for i in range(depth)
        ]

    def __call__(self, x: Tensor) -> Tensor:
        for unit in self.units:
            x = unit(x)
        return x


class Bottleneck(Module):
    """x (B, H, W, C) -> relu(x + residual(x)) (B, H / stride, W / stride, D).

    The residual is a 1 x 1, a 3 x 3 and a 1 x 1 convolution, each with a group norm, the middle ones with a quarter of
    the channels. Where shapes change, x goes through a 1 x 1 convolution and a group norm of its own.
    """

    def __init__(self, stride: int, inputs: int, outputs: int, convention: str, random: np.random.Generator):
        self.stride, middle, eps = stride, outputs // 4, NORM_EPS[convention]

        def convolution(size: int, stride: int, inputs: int, outputs: int) -> StandardisedConvolution:
            return StandardisedConvolution(size, stride, inputs, outputs, convention=convention, random=random)

        self.projection = self.projection_norm = None
        if stride != 1 or inputs != outputs:
            self.projection = convolution(1, stride, inputs, outputs)
            self.projection_norm = GroupNorm(outputs, eps)
        self.convolution1 = convolution(1, 1, inputs, middle)
        self.norm1 = GroupNorm(middle, eps)
        self.convolution2 = convolution(3, stride, middle, middle)
        self.norm2 = GroupNorm(middle, eps)
        self.convolution3 = convolution(1, 1, middle, outputs)
        # Zeros, as in the official code: each bottleneck starts out as the identity (but for the relu).
        self.norm3 = GroupNorm(outputs, eps, gamma=0.0)

    def __call__(self, x: Tensor) -> Tensor:
        y = relu(self.norm1(self.convolution1(x)))
        y = relu(self.norm2(self.convolution2(y)))
        y = self.norm3(self.convolution3(y))
        if self.projection is not None:
            x = self.projection_norm(self.projection(x))
        return relu(x + y)
