"""Stochastic gradient descent with momentum on the GPU: see sgd.cu."""

from tinyvit.kernels.gpu.optimizer import launch_step


def sgd_step(
    parameter,
    gradient,
    velocity,
    *,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    gradient_scale=1.0,
    working=None,
) -> None:
    """One step, in place, on flat arrays of equal length: parameter and velocity change, gradient does not.

    u = momentum u + g + decay p;  p = p - lr u.

    Args:
        gradient: float32 or bfloat16; the others are float32.
        gradient_scale: multiplies the gradient first: a number, or a float32 array of no axes, which is read on the
            GPU. NaN: nothing changes.
        working: bfloat16 (size,): receives the new parameters, rounded.

    Raises:
        TypeError: an array of another type, or not contiguous.
        ValueError: an array of another size.
    """
    numbers = (momentum, weight_decay, learning_rate)
    launch_step("sgd", parameter, gradient, {"velocity": velocity}, working, gradient_scale, numbers)
