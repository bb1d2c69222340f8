"""The Vision Transformer and its sizes. May import nn and all below it."""

from tinyvit.models.config import SIZES, ViTConfig
from tinyvit.models.cost import Cost, cost
from tinyvit.models.vit import ViT

__all__ = ["SIZES", "Cost", "ViT", "ViTConfig", "cost"]
