"""One block of the Transformer encoder."""

import numpy as np

from tinyvit.autograd import Tensor
from tinyvit.nn.attention import MultiHeadAttention
from tinyvit.nn.dropout import Dropout, StochasticDepth
from tinyvit.nn.layer_norm import LayerNorm
from tinyvit.nn.mlp import MLP
from tinyvit.nn.module import Module


class EncoderBlock(Module):
    """z' = MSA(LN(z)) + z (equation 2), then MLP(LN(z')) + z' (equation 3): z (B, N, D) -> (B, N, D)."""

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
        random: np.random.Generator,
    ):
        self.norm1 = LayerNorm(width, norm_eps)
        self.attention = MultiHeadAttention(width, heads, random)
        self.norm2 = LayerNorm(width, norm_eps)
        self.mlp = MLP(width, mlp_width, gelu, dropout, random)
        self.dropout = Dropout(dropout)
        self.stochastic_depth = StochasticDepth(stochastic_depth)

    def __call__(self, z: Tensor, asking: int | None = None) -> Tensor:
        """With ``asking``, give only the first so many tokens: all are looked at, but no others go on."""
        attended = self.attention(self.norm1(z), asking)
        z = (z if asking is None else z[:, :asking]) + self.stochastic_depth(self.dropout(attended))
        return z + self.stochastic_depth(self.mlp(self.norm2(z)))
