"""Stochastic gradient descent with momentum: the paper's fine-tuning (appendix B.1.1)."""

import math

import numpy as np

from tinyvit.kernels.cpu.blocks import row_blocks


def sgd_step(
    parameter: np.ndarray,
    gradient: np.ndarray,
    velocity: np.ndarray,
    *,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    gradient_scale: float = 1.0,
    working: np.ndarray | None = None,
) -> None:
    """One step, in place, on flat arrays of equal length: parameter and velocity change, gradient does not.

    u = momentum u + g + decay p;  p = p - lr u.  Decay is part of the gradient here, as in torch.optim.SGD.
    For gradient_scale and working see :func:`tinyvit.kernels.cpu.adamw.adamw_step`.
    """
    if math.isnan(gradient_scale):
        return
    for block in row_blocks(parameter.size, 2):
        p, u = parameter[block], velocity[block]
        g = gradient[block] * gradient_scale
        if weight_decay:
            g += weight_decay * p
        u *= momentum
        u += g
        p -= learning_rate * u
    if working is not None:
        working[...] = parameter
