"""Whether the model is being trained: only then do dropout and stochastic depth act.

A block of code, not a switch on the model, because several threads share one model, each with random numbers of its
own, and because a switch can be left in the wrong position.
"""

import contextlib
import threading
from collections.abc import Iterator

import numpy as np

_mode = threading.local()


@contextlib.contextmanager
def training_mode(random: np.random.Generator) -> Iterator[None]:
    """Within this block (and this thread) dropout and stochastic depth act, drawing from ``random``."""
    before = training_random()
    _mode.random = random
    try:
        yield
    finally:
        _mode.random = before


def training_random() -> np.random.Generator | None:
    """The generator of the training block that this thread is in, None outside of one."""
    return getattr(_mode, "random", None)
