"""Looking inside: attention rollout and the figures. Matplotlib is imported only when one is drawn.

May import models and all below it.
"""

from tinyvit.analysis.confusion import draw_confusion
from tinyvit.analysis.curves import draw_curves
from tinyvit.analysis.predictions import draw_predictions
from tinyvit.analysis.rollout import rollout

__all__ = ["draw_confusion", "draw_curves", "draw_predictions", "rollout"]
