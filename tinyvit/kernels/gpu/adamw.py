"""AdamW (Loshchilov and Hutter, 2019) on the GPU: see adamw.cu."""

from tinyvit.kernels.gpu.optimizer import launch_step


def adamw_step(
    parameter,
    gradient,
    mean,
    variance,
    *,
    step: int,
    learning_rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    gradient_scale=1.0,
    working=None,
) -> None:
    """One step, in place, on flat arrays of equal length: parameter, mean and variance change, gradient does not.

    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;
    p = p - lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + decay p).

    Args:
        gradient: float32 or bfloat16; the others are float32.
        step: t, from 1.
        gradient_scale: multiplies the gradient first: a number, or a float32 array of no axes, which is read on the
            GPU. NaN: nothing changes.
        working: bfloat16 (size,): receives the new parameters, rounded.

    Raises:
        TypeError: an array of another type, or not contiguous.
        ValueError: an array of another size.
    """
    numbers = (
        beta1,
        1 - beta1,
        beta2,
        1 - beta2,
        (1 - beta2**step) ** -0.5,
        eps,
        learning_rate / (1 - beta1**step),
        1 - learning_rate * weight_decay,
    )
    state = {"mean": mean, "variance": variance}
    launch_step("adamw", parameter, gradient, state, working, gradient_scale, numbers)
