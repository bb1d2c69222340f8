"""The sum of squares, from which the gradient's norm is made."""

import numpy as np


def squared_norm(x: np.ndarray) -> float:
    """The sum of the squares of all elements of a contiguous array; infinity where it is beyond the type's range."""
    flat = x.reshape(-1)
    # Whoever asks looks at what comes out; a warning from within a training step would help nobody.
    with np.errstate(over="ignore"):
        return float(np.dot(flat, flat))
