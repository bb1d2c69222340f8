"""What a model costs: parameters, multiply-adds and the memory of training, without allocating it."""

import dataclasses

from tinyvit.models.config import ViTConfig
from tinyvit.models.resnet_stem import ResNetStem
from tinyvit.models.vit import ViT
from tinyvit.nn import Module, initial

FLOAT_BYTES = 4


@dataclasses.dataclass(frozen=True)
class Layer:
    """One row of the table: a layer, what it gives for one image, and its price for one image."""

    name: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclasses.dataclass(frozen=True)
class Cost:
    """The price of a model.

    Attributes:
        layers: in the order of the forward pass, the encoder's blocks as one row.
        activations: numbers kept for backward, for one image.
    """

    layers: tuple[Layer, ...]
    activations: int

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """For the forward pass of one image with every token in every block, as the published figures count.

        Training takes about three times as many.
        """
        return sum(layer.multiply_adds for layer in self.layers)

    def training_bytes(self, batch_size: int, copies: int = 4) -> int:
        """Memory that a training step needs: ``copies`` of the weights (themselves, gradient, AdamW's two moments;
        one more for an average of the weights) and the activations of a batch."""
        return FLOAT_BYTES * (copies * self.parameters + batch_size * self.activations)


def cost(config: ViTConfig) -> Cost:
    """Count a model made without memory; multiply-adds are those of matrix products, as is the custom."""
    with initial.shapes_only():
        model = ViT(config)
    n, patches, d, m = config.tokens, config.grid**2, config.width, config.mlp_width
    block_products = n * (4 * d * d + 2 * d * m) + 2 * n * n * d
    own = [model.class_token, model.distillation_token, model.registers, model.position]
    cut = model.patch_embedding.projection.weight.shape[0]  # numbers in a patch
    layers = [
        Layer("patch embedding", (patches, d), _count(model.patch_embedding), patches * cut * d),
        Layer("class token, position", (n, d), sum(_count(part) for part in own), 0),
        Layer(
            f"{config.depth} encoder blocks",
            (n, d),
            sum(_count(b) for b in model.blocks),
            config.depth * block_products,
        ),
        Layer("final norm, pooling", (d,), _count(model.norm), 0),
    ]
    if model.representation is not None:
        width = config.representation
        layers.append(Layer("representation", (width,), _count(model.representation), d * width))
    if model.head is not None:
        inputs = config.representation or d
        heads = _count(model.head) + _count(model.head_distillation)
        layers.append(Layer("head", (config.classes,), heads, (1 + config.distillation) * inputs * config.classes))
    # Of the last block only the class token (and the distillation token) goes on.
    last = 1 + config.distillation if config.pool == "class_token" else n
    activations = (config.depth - 1) * _block_activations(config, n) + _block_activations(config, last)
    activations += last * d  # final norm
    if config.patch_size > config.stem_stride:
        activations += patches * cut  # flattened patches; those of one element are no copy
    if model.stem is not None:
        products, kept = _of_stem(model.stem, config.image_size)
        side = config.image_size // config.stem_stride
        layers.insert(0, Layer("ResNet stem", (side, side, model.stem.channels), _count(model.stem), products))
        activations += kept
    return Cost(tuple(layers), activations)


def _block_activations(config: ViTConfig, asking: int) -> int:
    """Numbers that an encoder block keeps for backward, where the first ``asking`` tokens go on."""
    n, d, m = config.tokens, config.width, config.mlp_width
    of_all = 5 * d  # normalised and scaled inputs; queries, keys, values
    # The heads' outputs, normalised and scaled; the MLP's hidden layer and its slope; the attention weights.
    of_asking = 3 * d + 2 * m + config.heads * n + (2 * d if config.layer_scale else 0)
    return n * of_all + asking * of_asking


def _of_stem(stem: ResNetStem, side: int) -> tuple[int, int]:
    """Multiply-adds of a ResNet on an image of side x side, and the numbers that it keeps for backward."""
    side //= 2
    channels = stem.root_norm.gamma.size
    products = side**2 * stem.root.weight.size
    kept = 2 * side**2 * channels  # normalised; after the relu, which is the next layer's input
    side //= 2
    kept += 3 * side**2 * channels // 2  # pooled, and where in its window each came from, in 2 bytes
    for unit in (unit for stage in stem.stages for unit in stage.units):
        before, side = side, side // unit.stride
        products += before**2 * unit.convolution1.weight.size
        kept += 2 * before**2 * unit.norm1.gamma.size + 2 * side**2 * unit.norm2.gamma.size
        kept += 2 * side**2 * unit.norm3.gamma.size
        for convolution in (unit.convolution2, unit.convolution3):
            products += side**2 * convolution.weight.size
        if unit.projection is not None:
            products += side**2 * unit.projection.weight.size
            kept += side**2 * unit.projection_norm.gamma.size
    return products, kept


def _count(part) -> int:
    if part is None:
        return 0
    return part.num_parameters if isinstance(part, Module) else part.size
