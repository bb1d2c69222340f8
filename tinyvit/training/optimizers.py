"""AdamW and SGD over flat parameters. The arithmetic is in the kernels; here is what it remembers between steps."""

from tinyvit import kernels
from tinyvit.training.flat import FlatParameters


class AdamW:
    """AdamW (Loshchilov and Hutter, 2019), with weight decay on matrices only.

    The decay is multiplied by the learning rate, as in torch.optim.AdamW.
    """

    def __init__(
        self,
        flat: FlatParameters,
        weight_decay: float = 0.05,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
    ):
        self.flat, self.weight_decay = flat, weight_decay
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.state = {"mean": flat.zeros(), "variance": flat.zeros()}

    def update(self, part: slice, decays: bool, gradient, scale, learning_rate: float, step: int) -> None:
        """Step number ``step`` (from 1) for one part of the flat parameters; ``scale`` multiplies the gradient.

        A scale that is not a number changes nothing.
        """
        kernels.adamw_step(
            self.flat.data[part],
            gradient[part],
            self.state["mean"][part],
            self.state["variance"][part],
            step=step,
            learning_rate=learning_rate,
            beta1=self.beta1,
            beta2=self.beta2,
            eps=self.eps,
            weight_decay=self.weight_decay if decays else 0.0,
            gradient_scale=scale,
            working=self.flat.working_part(part),
        )


class SGD:
    """SGD with momentum, with weight decay on matrices only."""

    def __init__(self, flat: FlatParameters, weight_decay: float = 0.0, momentum: float = 0.9):
        self.flat, self.weight_decay, self.momentum = flat, weight_decay, momentum
        self.state = {"velocity": flat.zeros()}

    def update(self, part: slice, decays: bool, gradient, scale, learning_rate: float, step: int) -> None:
        """One step for one part of the flat parameters; ``scale`` multiplies the gradient, NaN changes nothing."""
        kernels.sgd_step(
            self.flat.data[part],
            gradient[part],
            self.state["velocity"][part],
            learning_rate=learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay if decays else 0.0,
            gradient_scale=scale,
            working=self.flat.working_part(part),
        )
