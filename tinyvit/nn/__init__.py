"""Layers: what holds parameters and says how they are applied.

May import autograd, kernels, device and errors.
"""

from tinyvit.nn.attention import MultiHeadAttention
from tinyvit.nn.convolution import GroupNorm, StandardisedConvolution
from tinyvit.nn.dropout import Dropout, StochasticDepth
from tinyvit.nn.encoder import EncoderBlock
from tinyvit.nn.layer_norm import LayerNorm
from tinyvit.nn.layer_scale import LayerScale
from tinyvit.nn.linear import Linear
from tinyvit.nn.mlp import MLP
from tinyvit.nn.mode import training_mode
from tinyvit.nn.module import Module
from tinyvit.nn.patch_embedding import PatchEmbedding

__all__ = [
    "MLP",
    "Dropout",
    "EncoderBlock",
    "GroupNorm",
    "LayerNorm",
    "LayerScale",
    "Linear",
    "Module",
    "MultiHeadAttention",
    "PatchEmbedding",
    "StandardisedConvolution",
    "StochasticDepth",
    "training_mode",
]
