"""One block of the Transformer encoder."""

import numpy as np

from tinyvit.autograd import Tensor
from tinyvit.nn.attention import MultiHeadAttention
from tinyvit.nn.dropout import Dropout, StochasticDepth
from tinyvit.nn.layer_norm import LayerNorm
from tinyvit.nn.layer_scale import LayerScale
from tinyvit.nn.mlp import MLP
from tinyvit.nn.module import Module


class EncoderBlock(Module):
    """z' = MSA(LN(z)) + z (equation 2), then MLP(LN(z')) + z' (equation 3): z (B, N, D) -> (B, N, D).

    With ``layer_scale``, MSA and MLP are each multiplied by gains that start there.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_width: int,
        *,
        gelu: str,
        norm_eps: float,
        dropout: float,
        stochastic_depth: float,
        layer_scale: float = 0.0,
        random: np.random.Generator,
    ):
        self.norm1 = LayerNorm(width, norm_eps)
        self.attention = MultiHeadAttention(width, heads, random)
        self.layer_scale1 = LayerScale(width, layer_scale) if layer_scale else None
        self.norm2 = LayerNorm(width, norm_eps)
        self.mlp = MLP(width, mlp_width, gelu, dropout, random)
        self.layer_scale2 = LayerScale(width, layer_scale) if layer_scale else None
        self.dropout = Dropout(dropout)
        self.stochastic_depth = StochasticDepth(stochastic_depth)

    def __call__(self, z: Tensor, asking: int | None = None) -> Tensor:
        """With ``asking``, give only the first so many tokens: all are looked at, but no others go on."""
        attended = self.dropout(self.attention(self.norm1(z), asking))
        if self.layer_scale1 is not None:
            attended = self.layer_scale1(attended)
        z, normalised = self.norm2.of_sum(z if asking is None else z[:, :asking], self.stochastic_depth(attended))
        mixed = self.mlp(normalised)
        if self.layer_scale2 is not None:
            mixed = self.layer_scale2(mixed)
        return z + self.stochastic_depth(mixed)
