"""The Vision Transformer (Dosovitskiy et al., 2020): the paper's equations 1 to 4."""

import numpy as np

from tinyvit import kernels
from tinyvit.autograd import Tensor, broadcast_to, concatenate, no_grad, tanh
from tinyvit.autograd.tensor import as_tensor
from tinyvit.device import to_numpy
from tinyvit.models.config import ViTConfig
from tinyvit.models.position import position_embedding
from tinyvit.models.resnet_stem import ResNetStem
from tinyvit.nn import Dropout, EncoderBlock, LayerNorm, Linear, Module, PatchEmbedding, initial


class ViT(Module):
    """images (B, H, W, C), as ``config.preprocessing`` gives them -> logits (B, K).

    Args:
        config: the shape of the model.
        seed: of the initial weights.
        embedding_std: the standard deviation with which learned position embeddings start, and patch embeddings of
            pixels of variance 1. 0 for the official values, 0.02 and 1.
    """

    def __init__(self, config: ViTConfig, seed: int = 0, embedding_std: float = 0.0):
        self.config = config
        random = np.random.default_rng(seed)
        self.stem = ResNetStem(config, random) if config.stem == "resnet" else None
        channels = config.channels if self.stem is None else self.stem.channels
        self.patch_embedding = PatchEmbedding(
            config.patch_size // config.stem_stride, channels, config.width, random, embedding_std or 1.0
        )
        self.class_token = initial.zeros(1, 1, config.width) if config.pool == "class_token" else None
        self.distillation_token = initial.zeros(1, 1, config.width) if config.distillation else None
        # Nearly zero and yet not equal, as DINOv2's: equal ones would stay equal.
        self.registers = initial.normal(random, 1e-6, 1, config.registers, config.width) if config.registers else None
        self.position = position_embedding(config, random, embedding_std or 0.02)
        self.dropout = Dropout(config.dropout)
        self.blocks = [
            EncoderBlock(
                config.width,
                config.heads,
                config.mlp_width,
                gelu=config.gelu,
                norm_eps=config.norm_eps,
                dropout=config.dropout,
                stochastic_depth=config.stochastic_depth * i / max(config.depth - 1, 1),
                layer_scale=config.layer_scale,
                random=random,
            )
            for i in range(config.depth)
        ]
        self.norm = LayerNorm(config.width, config.norm_eps)
        self.representation = None
        if config.representation:
            self.representation = Linear(initial.lecun_normal(random, config.width, config.representation))
        self.head = None
        if config.classes:
            # Zeros, as in the official code: every class starts out equally likely.
            self.head = Linear(initial.zeros(config.representation or config.width, config.classes))
        self.head_distillation = None
        if config.classes and config.distillation:
            self.head_distillation = Linear(initial.zeros(config.width, config.classes))

    def __call__(self, images) -> Tensor:
        """Logits (B, K); without a head the representation (B, D). See :meth:`embed` for images and errors."""
        z = self.encode(images, only_pooled=True)
        if self.head_distillation is not None:
            z = self.norm(z)
            return 0.5 * (self.head(z[:, 0]) + self.head_distillation(z[:, 1]))
        y = self.pool(z)
        if self.representation is not None:
            y = tanh(self.representation(y))
        return y if self.head is None else self.head(y)

    def features(self, images) -> Tensor:
        """The tokens after the final norm (B, N, D): those that there are of class token, distillation token and
        registers, in this order, then the patches."""
        return self.norm(self.encode(images))

    def encode(self, images, only_pooled: bool = False) -> Tensor:
        """z_L (B, N, D): the tokens after the last block, before the final norm.

        ``only_pooled`` leaves out of the last block what :meth:`pool` does not read: with a class token, every token's
        output but its (and a distillation token's). The logits and gradients are the same, for 6 % less work in tiny
        and 16 % less in nano.
        """
        z = self.embed(images)
        for block in self.blocks[:-1]:
            z = block(z)
        read = 1 + self.config.distillation
        return self.blocks[-1](z, asking=read if only_pooled and self.class_token is not None else None)

    def embed(self, images) -> Tensor:
        """z_0 = [x_class; x_p E] + E_pos (equation 1): images (B, H, W, C), an array or a Tensor -> (B, N, D).

        A distillation token and registers, where there are any, stand between the class token and the patches.

        Raises:
            ValueError: images of another shape than the config's.
            TypeError: images of another type than the parameters', such as bytes that were not scaled.
        """
        images, config = as_tensor(images), self.config
        expected = (config.image_size, config.image_size, config.channels)
        if images.shape[1:] != expected:
            raise ValueError(
                f"images have shape {images.shape}: this model takes (batch, {', '.join(map(str, expected))})"
            )
        if images.dtype != (parameters := self.norm.gamma.dtype):
            raise TypeError(
                f"images are {images.dtype}: this model takes {parameters}, as config.preprocessing.prepare gives"
            )
        z = self.patch_embedding(images if self.stem is None else self.stem(images))
        z = _joined([self.class_token, self.distillation_token], z)
        if self.position is not None:
            z = z + self.position()
        if self.registers is not None:
            first = config.positions - config.grid**2
            z = concatenate([z[:, :first], _joined([self.registers], z[:, first:])], axis=1)
        return self.dropout(z)

    def pool(self, z: Tensor) -> Tensor:
        """y = LN(z_L^0) (equation 4), or the mean over the patches of LN(z_L): (B, N, D) -> (B, D). With a distillation
        token the mean of LN(z_L^0) and LN(z_L^1). Of tokens that have no part in it, z may lack the last ones."""
        # The norm works on each token by itself, so those that are read can be picked first.
        if self.distillation_token is not None:
            return self.norm(z[:, :2]).mean(axis=1)
        if self.class_token is not None:
            return self.norm(z[:, 0])
        return self.norm(z[:, self.config.registers :] if self.config.registers else z).mean(axis=1)

    def attention_maps(self, images) -> np.ndarray:
        """Every block's attention weights, (L, B, H, N, N): row i says how much token i looks at each token.

        In ordinary memory, wherever the model is.
        """
        maps = []
        with no_grad():
            z = self.embed(images)
            for block in self.blocks:
                qkv = block.attention.qkv(block.norm1(z))
                maps.append(to_numpy(kernels.attention_weights(qkv.data, self.config.heads)))
                z = block(z)
        return np.stack(maps)


def _joined(tokens: list[Tensor | None], z: Tensor) -> Tensor:
    """Each of ``tokens`` (1, T, D) that is there, for every image, before z (B, N, D)."""
    given = [broadcast_to(part, (len(z), *part.shape[1:])) for part in tokens if part is not None]
    return concatenate([*given, z], axis=1) if given else z
