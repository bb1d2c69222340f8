"""The learning rate as a pure function of the step."""

import math


def learning_rate_at(step: int, *, peak: float, steps: int, warmup_steps: int, schedule: str) -> float:
    """Linear warm-up to ``peak``, then ``schedule`` "cosine" or "linear" down to 0 (paper, Table 3), or "constant".

    Args:
        step: from 0 to ``steps`` - 1. The first step of a warm-up has peak / warmup_steps, not 0.
        steps: of the whole training.
        warmup_steps: after these many the peak is reached.

    Raises:
        ValueError: another schedule.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    if schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "linear":
        return peak * (1 - progress)
    if schedule == "constant":
        return peak
    raise ValueError(f"unknown schedule {schedule!r}: known are cosine, linear, constant")
