"""The MLP of an encoder block."""

import numpy as np

from tinyvit.autograd import Tensor, gelu, mlp
from tinyvit.nn import initial
from tinyvit.nn.dropout import Dropout
from tinyvit.nn.linear import Linear
from tinyvit.nn.module import Module


class MLP(Module):
    """Linear, GELU, linear (paper, section 3.1): x (..., D) -> (..., M) -> (..., D), dropout after both."""

    def __init__(self, width: int, hidden_width: int, gelu: str, dropout: float, random: np.random.Generator):
        self.gelu = gelu
        self.linear1 = Linear(
            initial.xavier_uniform(random, width, hidden_width), initial.normal(random, 1e-6, hidden_width)
        )
        self.linear2 = Linear(initial.xavier_uniform(random, hidden_width, width), initial.normal(random, 1e-6, width))
        self.dropout = Dropout(dropout)

    def __call__(self, x: Tensor) -> Tensor:
        first, second = self.linear1, self.linear2
        if self.dropout.active:
            return self.dropout(second(self.dropout(gelu(first(x), self.gelu))))
        # Nothing stands between the layers, so one kernel does all three while the numbers are in the cache.
        return mlp(x, first.weight, first.bias, second.weight, second.bias, self.gelu)
