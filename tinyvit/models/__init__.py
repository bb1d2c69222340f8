"""The Vision Transformer, its sizes, its cost and its files. May import nn and all below it."""

from tinyvit.models.config import SIZES, ViTConfig
from tinyvit.models.cost import Cost, cost
from tinyvit.models.saved import load_model, save_model, set_weights
from tinyvit.models.vit import ViT

__all__ = ["SIZES", "Cost", "ViT", "ViTConfig", "cost", "load_model", "save_model", "set_weights"]
