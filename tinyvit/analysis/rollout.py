"""Attention rollout: where a ViT looks (Abnar and Zuidema, 2020; paper, appendix D.8)."""

import numpy as np


def rollout(maps: np.ndarray, class_token: bool, extra_tokens: int = 0) -> np.ndarray:
    """Follow attention through the layers to the patches.

    Per layer: average over heads, add the identity for the residual connection, make each row sum to 1; then multiply
    the layers' matrices. The class token's row says how much of each patch reaches the output. Without a class token
    the rows of all patches are averaged, as the model averages their outputs.

    Args:
        maps: attention weights (L, B, H, N, N), as ``ViT.attention_maps`` gives them.
        class_token: whether token 0 is one.
        extra_tokens: how many tokens (``ViTConfig.extra_tokens``) then stand before the patches. They pass on what they
            have seen, and get no share of their own.

    Returns:
        (B, G, G), the share of each patch of the grid, summing to 1 for each image.
    """
    layers, batch, _, tokens, _ = maps.shape
    joined = np.broadcast_to(np.eye(tokens, dtype=maps.dtype), (batch, tokens, tokens))
    for layer in range(layers):
        mixed = maps[layer].mean(axis=1) + np.eye(tokens, dtype=maps.dtype)
        joined = (mixed / mixed.sum(axis=-1, keepdims=True)) @ joined
    first = class_token + extra_tokens
    shares = joined[:, 0, first:] if class_token else joined[:, first:, first:].mean(axis=1)
    shares = shares / shares.sum(axis=-1, keepdims=True)
    grid = round(shares.shape[1] ** 0.5)
    return shares.reshape(batch, grid, grid)
