"""What a gradient is multiplied with so that its norm does not exceed a limit (Pascanu et al., 2013)."""

import math


def clip_scale(squared_norm: float, loss: float, largest: float) -> float:
    """min(1, largest / norm): 1 without a limit (``largest`` 0), NaN where the loss or the norm is not finite.

    An optimiser that gets NaN changes nothing, so that one bad batch cannot spoil the parameters.
    """
    norm = math.sqrt(squared_norm)
    if not (math.isfinite(loss) and math.isfinite(norm)):
        return math.nan
    return largest / norm if largest and norm > largest else 1.0
