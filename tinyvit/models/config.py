"""ViTConfig: everything that shapes a model, and the named sizes."""

import dataclasses
import math

from tinyvit.errors import InputError, check_types, unknown
from tinyvit.models.preprocessing import Preprocessing

# name -> width D, depth L, heads, MLP width. The paper's Table 1 has base, large and huge; tiny and small are
# those of DeiT (Touvron et al., 2021). nano is ours: it learns the embedded data in about a minute on a laptop.
# Its heads are 32 wide, since narrower ones are known to learn badly, and its MLP is twice the width.
SIZES: dict[str, tuple[int, int, int, int]] = {
    "nano": (64, 4, 2, 128),
    "tiny": (192, 12, 3, 768),
    "small": (384, 12, 6, 1536),
    "base": (768, 12, 12, 3072),
    "large": (1024, 24, 16, 4096),
    "huge": (1280, 32, 16, 5120),
}

CHOICES = {
    "pool": ("class_token", "mean"),
    "position_embedding": ("learned", "learned_2d", "sinusoidal", "none"),
    "gelu": ("tanh", "exact"),
    "stem": ("patches", "resnet"),
    "stem_convention": ("official", "timm"),
}


@dataclasses.dataclass(frozen=True)
class ViTConfig:
    """The shape of a ViT, with the paper's choices as defaults.

    Attributes:
        image_size, patch_size: in pixels, of square images; the second divides the first.
        channels: 3 for colour, 1 for grey.
        width, depth, heads, mlp_width: D, L, H and the hidden width of the MLPs; H divides D.
        classes: outputs of the head; 0 for no head, then the model gives its representation.
        pool: "class_token" reads the class off an extra token (section 3.1); "mean" has none and averages the
            patches' outputs (appendix D.3).
        position_embedding: "learned" for each position (section 3.1), "learned_2d" for each row and each column
            (appendix D.4), "sinusoidal", fixed, in both directions, or "none".
        representation: width of a hidden layer with tanh before the head, 0 for none (section 3.1: pre-training only).
        gelu: "tanh" as in the official code, or "exact" as in timm and Hugging Face.
        norm_eps: what layer norm adds to the variance; 1e-6 in the official code.
        dropout: rate after the position embedding, the attention and both MLP layers (Table 3).
        stochastic_depth: rate of the last block; it grows linearly from 0 at the first.
        distillation: a second token after the class token, with a head of its own, and logits that are the mean of
            both heads' (DeiT).
        registers: tokens after these that nothing reads and that have no position (Darcet et al., 2024; DINOv2).
        layer_scale: what the gains of LayerScale start at, 0 for no LayerScale (DINOv2).
        stem: "patches" cuts them from the image; "resnet" cuts them from what a ResNet makes of it (the hybrid of
            section 3.1), and patch_size is then that of the image that a patch stands for.
        stem_depths: bottlenecks in each stage of the ResNet; (3, 4, 9) is R50 with stride 16, (3, 4, 6, 3) stride 32.
        stem_convention: whose small numbers the ResNet divides by, "official" or "timm"
            (see :class:`tinyvit.models.resnet_stem.ResNetStem`).
        preprocessing: how a picture becomes an image for this model.

    Raises:
        InputError: a value out of range, or values that don't fit together.
    """

    image_size: int = 224
    patch_size: int = 16
    channels: int = 3
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 3072
    classes: int = 1000
    pool: str = "class_token"
    position_embedding: str = "learned"
    representation: int = 0
    gelu: str = "tanh"
    norm_eps: float = 1e-6
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    distillation: bool = False
    registers: int = 0
    layer_scale: float = 0.0
    stem: str = "patches"
    stem_depths: tuple = (3, 4, 9)
    stem_convention: str = "official"
    preprocessing: Preprocessing = dataclasses.field(default_factory=Preprocessing)

    def __post_init__(self):
        for field in ("image_size", "patch_size", "channels", "width", "depth", "heads", "mlp_width"):
            if getattr(self, field) < 1:
                raise InputError(f"{field} is {getattr(self, field)}: it must be at least 1")
        for field in ("classes", "representation", "registers", "layer_scale"):
            if not 0 <= getattr(self, field) < math.inf:
                raise InputError(f"{field} is {getattr(self, field)}: it must be at least 0")
        for field in ("dropout", "stochastic_depth"):
            if not 0 <= getattr(self, field) < 1:
                raise InputError(f"{field} is {getattr(self, field)}: it must be at least 0 and less than 1")
        if not self.norm_eps > 0:
            raise InputError(f"norm_eps is {self.norm_eps}: it must be more than 0")
        for field, known in CHOICES.items():
            if getattr(self, field) not in known:
                raise unknown(field.replace("_", " "), getattr(self, field), known)
        if self.image_size % self.patch_size:
            raise InputError(
                f"patch size {self.patch_size} does not divide image size {self.image_size}: "
                f"choose one of {', '.join(map(str, _divisors(self.image_size)))}"
            )
        if self.width % self.heads:
            raise InputError(
                f"{self.heads} heads do not divide width {self.width}: "
                f"choose one of {', '.join(map(str, _divisors(self.width)))} heads"
            )
        if self.position_embedding == "learned_2d" and self.width % 2:
            raise InputError(f"width {self.width} is odd: a 2-D position embedding needs an even one")
        if self.position_embedding == "sinusoidal" and self.width % 4:
            raise InputError(f"width {self.width} is no multiple of 4: a sinusoidal position embedding needs one")
        if len(self.preprocessing.mean) not in (1, self.channels):
            raise InputError(
                f"preprocessing has a mean for {len(self.preprocessing.mean)} channels, the model has {self.channels}"
            )
        if self.distillation and (self.pool != "class_token" or self.representation):
            raise InputError('distillation needs the pool "class_token", and no representation layer')
        if not all(isinstance(depth, int) and depth >= 1 for depth in self.stem_depths):
            raise InputError(f"stem_depths is {self.stem_depths}: give numbers of at least 1, such as (3, 4, 9)")
        if self.patch_size % self.stem_stride:
            raise InputError(
                f"patch size {self.patch_size} is no multiple of {self.stem_stride}, the stride of a ResNet stem of "
                f"stem_depths {self.stem_depths}"
            )

    @classmethod
    def named(cls, size: str, **changes) -> "ViTConfig":
        """The config of a named size, such as "tiny", with any field changed.

        Raises:
            InputError: an unknown size, or values that don't fit together.
        """
        if size not in SIZES:
            raise unknown("size", size, SIZES)
        width, depth, heads, mlp_width = SIZES[size]
        return cls(**{"width": width, "depth": depth, "heads": heads, "mlp_width": mlp_width, **changes})

    @classmethod
    def from_dict(cls, values: dict) -> "ViTConfig":
        """The config that ``dataclasses.asdict`` turned into ``values``, read back from a file.

        Raises:
            InputError: a field that this version does not know, a value of the wrong type, or values that don't fit.
        """
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        if isinstance(values.get("preprocessing"), dict):
            values["preprocessing"] = Preprocessing.from_dict(values["preprocessing"])
        check_types("model", cls, values)
        return cls(**values)

    @property
    def grid(self) -> int:
        """Patches along one side of the image."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """N: the sequence length, the class token and the extra tokens included."""
        return self.grid**2 + (self.pool == "class_token") + self.extra_tokens

    @property
    def extra_tokens(self) -> int:
        """Tokens between the class token (if any) and the patches: the distillation token and the registers."""
        return self.distillation + self.registers

    @property
    def positions(self) -> int:
        """Tokens that have a position: all but the registers."""
        return self.tokens - self.registers

    @property
    def stem_stride(self) -> int:
        """Pixels between neighbours of what the patches are cut from: 1, or a ResNet's 4, doubled after each stage."""
        return 1 if self.stem == "patches" else resnet_stride(self.stem_depths)


def resnet_stride(depths: tuple[int, ...]) -> int:
    """The stride of a ResNet stem with stages of these depths."""
    return 4 * 2 ** max(len(depths) - 1, 0)


def _divisors(number: int) -> list[int]:
    small = [i for i in range(1, math.isqrt(number) + 1) if number % i == 0]
    return sorted({*small, *(number // i for i in small)})
