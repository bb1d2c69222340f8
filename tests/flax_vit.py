"""A ViT in Flax as Google's code builds it, and its weights as Google's .npz files have them."""

from pathlib import Path

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

# Compiled in a fraction of the time.
jax.config.update("jax_disable_most_optimizations", True)

# What Google's code calls the second norm, the attention and the MLP of a block: originally, and since Linen.
ORIGINAL = {"norm": "LayerNorm_2", "attention": "MultiHeadDotProductAttention_1", "mlp": "MlpBlock_3"}
LINEN = {"norm": "LayerNorm_1", "attention": "MultiHeadDotProductAttention_0", "mlp": "MlpBlock_0"}


class StdConv(nn.Module):
    """Convolution with standardised weights."""

    features: int
    size: int
    stride: int = 1

    @nn.compact
    def __call__(self, x):
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        kernel = (kernel - kernel.mean((0, 1, 2))) / (kernel.std((0, 1, 2)) + 1e-5)
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (self.stride,) * 2, "SAME", dimension_numbers=numbers)


class Unit(nn.Module):
    features: int
    stride: int

    @nn.compact
    def __call__(self, x):
        residual = x
        if x.shape[-1] != 4 * self.features or self.stride != 1:
            residual = StdConv(4 * self.features, 1, self.stride, name="conv_proj")(residual)
            residual = nn.GroupNorm(name="gn_proj")(residual)
        y = nn.relu(nn.GroupNorm(name="gn1")(StdConv(self.features, 1, name="conv1")(x)))
        y = nn.relu(nn.GroupNorm(name="gn2")(StdConv(self.features, 3, self.stride, name="conv2")(y)))
        return nn.relu(residual + nn.GroupNorm(name="gn3")(StdConv(4 * self.features, 1, name="conv3")(y)))


class Stage(nn.Module):
    depth: int
    features: int
    stride: int

    @nn.compact
    def __call__(self, x):
        for i in range(self.depth):
            x = Unit(self.features, 1 if i else self.stride, name=f"unit{i + 1}")(x)
        return x


class MlpBlock(nn.Module):
    hidden: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(x.shape[-1], name="Dense_1")(nn.gelu(nn.Dense(self.hidden, name="Dense_0")(x)))


class Block(nn.Module):
    heads: int
    mlp_width: int
    names: dict

    @nn.compact
    def __call__(self, x):
        y = nn.LayerNorm(name="LayerNorm_0")(x)
        x = x + nn.MultiHeadDotProductAttention(self.heads, name=self.names["attention"], deterministic=True)(y, y)
        y = nn.LayerNorm(name=self.names["norm"])(x)
        return x + MlpBlock(self.mlp_width, name=self.names["mlp"])(y)


class Positions(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x + self.param("pos_embedding", nn.initializers.normal(0.02), (1, *x.shape[1:]))


class Encoder(nn.Module):
    depth: int
    heads: int
    mlp_width: int
    names: dict
    with_positions: bool

    @nn.compact
    def __call__(self, x):
        if self.with_positions:
            x = Positions(name="posembed_input")(x)
        for i in range(self.depth):
            x = Block(self.heads, self.mlp_width, self.names, name=f"encoderblock_{i}")(x)
        return nn.LayerNorm(name="encoder_norm")(x)


class GoogleViT(nn.Module):
    """images (B, H, W, C) -> logits (B, K), tokens (B, N, D). ``big_vision`` adds positions before the class token."""

    patch_size: int = 8
    width: int = 96
    depth: int = 2
    heads: int = 3
    mlp_width: int = 200
    classes: int = 11
    representation: int = 0
    class_token: bool = True
    big_vision: bool = False
    names: dict = flax.core.freeze(ORIGINAL)
    stages: tuple = ()

    @nn.compact
    def __call__(self, x):
        if self.stages:
            x = nn.relu(nn.GroupNorm(name="gn_root")(StdConv(64, 7, 2, name="conv_root")(x)))
            x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
            for i, depth in enumerate(self.stages):
                x = Stage(depth, 64 * 2**i, 2 if i else 1, name=f"block{i + 1}")(x)
        patch = (self.patch_size, self.patch_size)
        x = nn.Conv(self.width, patch, patch, "VALID", name="embedding")(x)
        x = x.reshape(x.shape[0], -1, self.width)
        if self.big_vision:
            x = x + self.param("pos_embedding", nn.initializers.normal(0.02), (1, *x.shape[1:]))
        if self.class_token:
            cls = self.param("cls", nn.initializers.zeros, (1, 1, self.width))
            x = jnp.concatenate([jnp.tile(cls, (x.shape[0], 1, 1)), x], axis=1)
        tokens = Encoder(self.depth, self.heads, self.mlp_width, self.names, not self.big_vision, name="Transformer")(x)
        y = tokens[:, 0] if self.class_token else tokens.mean(axis=1)
        if self.representation:
            y = jnp.tanh(nn.Dense(self.representation, name="pre_logits")(y))
        return nn.Dense(self.classes, name="head")(y), tokens


def random_weights(model: GoogleViT, image_size: int, channels: int = 3) -> dict[str, np.ndarray]:
    """Weights by name, such as "Transformer/encoder_norm/scale", none of them zero."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, image_size, image_size, channels)))["params"]
    random = np.random.default_rng(0)
    weights = {}
    for name, leaf in flax.traverse_util.flatten_dict(shapes, sep="/").items():
        values = random.standard_normal(leaf.shape)
        if name.endswith("scale"):
            values = 1 + 0.1 * values
        elif name.endswith("kernel"):
            inputs = leaf.shape[:-2] if name.split("/")[-2] in ("query", "key", "value") else leaf.shape[:-1]
            values /= np.prod(inputs) ** 0.5
        else:
            values *= 0.3
        weights[name] = values.astype(np.float32)
    return weights


def answers(model: GoogleViT, weights: dict[str, np.ndarray], images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits and tokens."""
    parameters = flax.traverse_util.unflatten_dict(weights, sep="/")
    logits, tokens = jax.jit(model.apply)({"params": parameters}, images)
    return np.asarray(logits), np.asarray(tokens)


def write(weights: dict[str, np.ndarray], path: Path, prefix: str = "", save=np.savez, stacked: bool = False) -> Path:
    """The file as Google's code writes it; with ``stacked``, all blocks' weights of a kind are one array."""
    if stacked:
        block = "Transformer/encoderblock"
        depth = 1 + max(int(name.split("/")[1].split("_")[1]) for name in weights if name.startswith(f"{block}_"))
        kinds = [name.removeprefix(f"{block}_0") for name in weights if name.startswith(f"{block}_0/")]
        joined = {f"{block}{kind}": np.stack([weights[f"{block}_{i}{kind}"] for i in range(depth)]) for kind in kinds}
        weights = {name: array for name, array in weights.items() if not name.startswith(f"{block}_")} | joined
    save(path, **{prefix + name: array for name, array in weights.items()})
    return path
