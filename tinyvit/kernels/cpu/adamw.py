"""AdamW (Loshchilov and Hutter, 2019): Adam with weight decay apart from the gradient."""

import math

import numpy as np

from tinyvit.kernels.cpu.blocks import row_blocks


def adamw_step(
    parameter: np.ndarray,
    gradient: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    *,
    step: int,
    learning_rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    gradient_scale: float = 1.0,
    working: np.ndarray | None = None,
) -> None:
    """One step, in place, on flat arrays of equal length: parameter, mean and variance change, gradient does not.

    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;
    p = p - lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + decay p).

    Args:
        step: t, from 1.
        gradient_scale: multiplies the gradient first: clipping by the global norm without a pass of its own. NaN means
            that the step changes nothing.
        working: an array of another type that gets a copy of the new parameters.
    """
    if math.isnan(gradient_scale):
        return
    correction1, correction2 = 1 - beta1**step, 1 - beta2**step
    for block in row_blocks(parameter.size, 4):
        p, m, v = parameter[block], mean[block], variance[block]
        g = gradient[block] * gradient_scale
        m *= beta1
        m += (1 - beta1) * g
        v *= beta2
        g *= g
        g *= 1 - beta2
        v += g
        divisor = np.sqrt(v, out=g)
        divisor *= correction2**-0.5
        divisor += eps
        update = np.divide(m, divisor, out=divisor)
        update *= learning_rate / correction1
        p *= 1 - learning_rate * weight_decay
        p -= update
    if working is not None:
        working[...] = parameter
