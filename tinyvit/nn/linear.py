"""Linear: y = x W + b."""

from tinyvit.autograd import Tensor, linear
from tinyvit.nn import initial
from tinyvit.nn.module import Module


class Linear(Module):
    """y = x W + b for x (..., in), with weight (in, out), bias (out,).

    Args:
        weight: its initial value, (in, out).
        bias: its initial value, (out,); zeros by default.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None):
        self.weight = weight
        self.bias = initial.zeros(weight.shape[1]) if bias is None else bias

    def __call__(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)
