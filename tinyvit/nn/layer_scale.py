"""LayerScale: a learned gain for each channel of a residual branch."""

from tinyvit.autograd import Tensor
from tinyvit.nn import initial
from tinyvit.nn.module import Module


class LayerScale(Module):
    """x (..., D) times gain (D,) (Touvron et al., 2021, "Going deeper with image transformers").

    Args:
        width: D.
        start: what every gain starts at; small, so that each block starts out close to the identity.
    """

    def __init__(self, width: int, start: float):
        self.gain = initial.constant(start, width)

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.gain
