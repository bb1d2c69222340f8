"""Two ways to leave something out while training: single elements, or a whole residual branch."""

from tinyvit.autograd import Tensor, dropout
from tinyvit.device import array_module
from tinyvit.nn.mode import training_random
from tinyvit.nn.module import Module


class Dropout(Module):
    """Dropout (Srivastava et al., 2014): in training, each element is zero with probability ``rate``."""

    def __init__(self, rate: float):
        self.rate = rate

    @property
    def active(self) -> bool:
        """True where calling this changes anything."""
        return self.rate > 0 and training_random() is not None

    def __call__(self, x: Tensor) -> Tensor:
        if not self.active:
            return x
        return dropout(x, self.rate, seed=int(training_random().integers(2**63)))


class StochasticDepth(Module):
    """Stochastic depth (Huang et al., 2016): in training, the branch x (B, N, D) is left out for a random part of the
    images, with probability ``rate``, and divided by 1 - rate for the others."""

    def __init__(self, rate: float):
        self.rate = rate

    def __call__(self, x: Tensor) -> Tensor:
        random = training_random()
        if self.rate == 0 or random is None:
            return x
        kept = random.random((x.shape[0], 1, 1)) >= self.rate
        return x * array_module(x.data).asarray((kept / (1 - self.rate)).astype(x.dtype))
