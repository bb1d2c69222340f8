"""Multi-head self-attention with its projections."""

import numpy as np

from tinyvit.autograd import Tensor, attention
from tinyvit.nn import initial
from tinyvit.nn.linear import Linear
from tinyvit.nn.module import Module


class MultiHeadAttention(Module):
    """MSA (paper, appendix A): project to queries, keys and values; attend in each head; project back.

    x (B, N, D) -> (B, N, D), or only the first ``asking`` tokens of it. The three projections are one matrix (D, 3 D),
    as in equation 5.
    """

    def __init__(self, width: int, heads: int, random: np.random.Generator):
        self.heads = heads
        self.qkv = Linear(initial.xavier_uniform(random, width, width, parts=3))
        self.out = Linear(initial.xavier_uniform(random, width, width))

    def __call__(self, x: Tensor, asking: int | None = None) -> Tensor:
        return self.out(attention(self.qkv(x), self.heads, asking))
