"""Training: recipe, optimisers, schedule, the step, checkpoints, the run's folder.

May import data, models and all below.
"""

from tinyvit.training.evaluation import Evaluation, evaluate
from tinyvit.training.fit import fit
from tinyvit.training.optimizers import SGD, AdamW
from tinyvit.training.recipe import Recipe
from tinyvit.training.schedule import learning_rate_at
from tinyvit.training.step import TrainStep
from tinyvit.training.workers import Workers

__all__ = ["SGD", "AdamW", "Evaluation", "Recipe", "TrainStep", "Workers", "evaluate", "fit", "learning_rate_at"]
