"""Layer normalisation with a learned gain and bias."""

from tinyvit.autograd import Tensor, add_layer_norm, layer_norm
from tinyvit.nn import initial
from tinyvit.nn.module import Module


class LayerNorm(Module):
    """Each row of x (..., D) to mean 0 and variance 1, then times gamma (D,) plus beta (D,)."""

    def __init__(self, width: int, eps: float):
        self.eps = eps
        self.gamma = initial.ones(width)
        self.beta = initial.zeros(width)

    def __call__(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.gamma, self.beta, self.eps)

    def of_sum(self, x: Tensor, branch: Tensor) -> tuple[Tensor, Tensor]:
        """z = x + branch, both (..., D), and its norm: what a residual connection needs, in one pass over memory."""
        return add_layer_norm(x, branch, self.gamma, self.beta, self.eps)
