"""Initial values, those of the official code: each function makes one parameter."""

import contextlib
import threading
from collections.abc import Iterator

import numpy as np

from tinyvit.autograd import Tensor

_mode = threading.local()


@contextlib.contextmanager
def shapes_only() -> Iterator[None]:
    """Within this block (and this thread) parameters have their shape but no memory: a model of any size is made at
    once, to be counted or filled from a file."""
    before = getattr(_mode, "shapes_only", False)
    _mode.shapes_only = True
    try:
        yield
    finally:
        _mode.shapes_only = before


def _parameter(shape: tuple[int, ...], draw) -> Tensor:
    if getattr(_mode, "shapes_only", False):
        return Tensor(np.broadcast_to(np.float32(0), shape), requires_grad=True)
    return Tensor(np.asarray(draw(), dtype=np.float32), requires_grad=True)


def zeros(*shape: int) -> Tensor:
    return _parameter(shape, lambda: np.zeros(shape))


def ones(*shape: int) -> Tensor:
    return _parameter(shape, lambda: np.ones(shape))


def constant(value: float, *shape: int) -> Tensor:
    return _parameter(shape, lambda: np.full(shape, value))


def normal(random: np.random.Generator, std: float, *shape: int) -> Tensor:
    """Normal with mean 0 and the given standard deviation."""
    return _parameter(shape, lambda: std * random.standard_normal(shape))


def xavier_uniform(random: np.random.Generator, inputs: int, outputs: int, parts: int = 1) -> Tensor:
    """Uniform in +-sqrt(6 / (inputs + outputs)) (Glorot and Bengio, 2010), as (inputs, parts * outputs): ``parts``
    matrices side by side, each with the limit that it would have alone."""
    limit = (6 / (inputs + outputs)) ** 0.5
    return _parameter((inputs, parts * outputs), lambda: random.uniform(-limit, limit, (inputs, parts * outputs)))


def lecun_normal(random: np.random.Generator, inputs: int, outputs: int, std: float = 1.0) -> Tensor:
    """Normal, cut off at 2 standard deviations, of variance std^2 / inputs (LeCun et al., 1998), (inputs, outputs)."""

    def draw() -> np.ndarray:
        values = random.standard_normal((inputs, outputs))
        while (far := np.abs(values) > 2).any():
            values[far] = random.standard_normal(int(far.sum()))
        # Cutting off leaves a standard deviation of 0.8796; dividing by it restores the variance that was meant.
        return values * (std * inputs**-0.5 / 0.87962566103423978)

    return _parameter((inputs, outputs), draw)
