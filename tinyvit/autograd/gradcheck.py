"""gradcheck: compare a backward pass with finite differences, entry by entry."""

from collections.abc import Callable, Sequence

import numpy as np

from tinyvit.autograd.function import gradients, no_grad
from tinyvit.autograd.tensor import Tensor


class GradientError(AssertionError):
    """A gradient that disagrees with finite differences."""


def gradcheck(
    function: Callable[..., Tensor],
    inputs: Sequence,
    *,
    step: float = 1e-5,
    rtol: float = 1e-6,
    atol: float = 1e-8,
    seed: int = 0,
) -> None:
    """Check every entry of every input's gradient of ``function(*inputs)`` against central differences.

    The gradient arriving at the output is random: ones can hide errors (a softmax's rows always sum to 1, so with
    ones its true gradient is zero and a wrong backward passes).

    Args:
        function: takes as many Tensors as there are inputs and returns one Tensor of any shape. It must compute
            the same each time it is called.
        inputs: float64 arrays (views are kept as they are), at points where the function is smooth.
        step: how far each entry moves, times max(1, |entry|).
        rtol, atol: an entry is wrong where |analytic - numeric| > atol + rtol * scale, and scale is the larger of the
            entry's own size and the input gradient's root mean square.
        seed: of the random gradient.

    Raises:
        GradientError: names the input and the entry that is worst, both values and their difference.
        TypeError: an input is not float64.
    """
    arrays = [np.asarray(array) for array in inputs]
    for position, array in enumerate(arrays):
        if array.dtype != np.float64:
            raise TypeError(
                f"gradcheck needs float64 inputs, but input {position} is {array.dtype}: finite "
                "differences drown in float32's rounding"
            )
    leaves = [Tensor(array, requires_grad=True) for array in arrays]
    output = function(*leaves)
    cotangent = np.random.default_rng(seed).standard_normal(output.shape)
    analytic = gradients(output, leaves, cotangent)

    for position, array in enumerate(arrays):

        def loss(moved: np.ndarray, position: int = position) -> float:
            values = [moved if i == position else other for i, other in enumerate(arrays)]
            with no_grad():
                return float(np.sum(function(*(Tensor(value) for value in values)).data * cotangent))

        numeric = _central_differences(loss, array, step)
        _compare(analytic[position], numeric, position, rtol, atol)


def _central_differences(loss: Callable[[np.ndarray], float], array: np.ndarray, step: float) -> np.ndarray:
    numeric = np.empty(array.shape)
    for entry in np.ndindex(array.shape):
        moved = array.copy()
        h = step * max(1.0, abs(float(array[entry])))
        moved[entry] = array[entry] + h
        above = loss(moved)
        moved[entry] = array[entry] - h
        numeric[entry] = (above - loss(moved)) / (2 * h)
    return numeric


def _compare(analytic: np.ndarray, numeric: np.ndarray, position: int, rtol: float, atol: float) -> None:
    if numeric.size == 0:
        return
    scale = np.maximum(np.abs(numeric), np.sqrt(np.mean(np.square(numeric))))
    difference = np.abs(analytic - numeric)
    excess = np.asarray(difference / (atol + rtol * scale))
    excess[~np.isfinite(excess)] = np.inf  # a NaN on either side is wrong
    wrong = int(np.sum(excess > 1))
    if wrong:
        worst = np.unravel_index(int(np.argmax(excess)), numeric.shape)
        entry = tuple(int(i) for i in worst)
        raise GradientError(
            f"input {position}: {wrong} of {numeric.size} gradient entries are wrong; the worst is entry "
            f"{entry}: backward says {analytic[worst]:.9g}, finite differences say {numeric[worst]:.9g} "
            f"(off by {difference[worst]:.3g})"
        )
