"""Group normalisation (Wu and He, 2018): layer norm for feature maps."""

import math

from tinyvit.autograd.function import Function
from tinyvit.autograd.tensor import Tensor


class GroupNorm(Function):
    def __init__(self, groups: int, eps: float):
        self.groups, self.eps = groups, eps

    def forward(self, x, gamma, beta):
        self.shape, self.gamma = x.shape, gamma
        x = x.reshape(x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1])
        centred = x - self.group_means(x)
        self.inverse_std = (self.group_means(centred * centred) + self.eps) ** -0.5
        self.normalised = centred * self.inverse_std
        return (self.normalised * gamma + beta).reshape(self.shape)

    def backward(self, dout):
        dout, normalised = dout.reshape(self.normalised.shape), self.normalised
        # As in layer norm: what would only move a group's mean or variance has no effect, and is taken off.
        d = dout * self.gamma
        dx = self.inverse_std * (d - self.group_means(d) - normalised * self.group_means(d * normalised))
        return dx.reshape(self.shape), (dout * normalised).sum(axis=(0, 1)), dout.sum(axis=(0, 1))

    def group_means(self, x):
        """x (B, P, C) -> (B, 1, C): for each channel the mean of its group, over all positions."""
        batch, _, channels = x.shape
        members = channels // self.groups
        of_groups = x.mean(axis=1).reshape(batch, self.groups, members).mean(axis=2)
        return of_groups.repeat(members, axis=1).reshape(batch, 1, channels)


def group_norm(x: Tensor, gamma: Tensor, beta: Tensor, groups: int, eps: float) -> Tensor:
    """Each group of neighbouring channels of x (B, ..., C) to mean 0 and variance 1, over all positions of an image;
    then times gamma (C,) plus beta (C,).

    Raises:
        ValueError: the groups do not divide C.
    """
    if x.shape[-1] % groups:
        raise ValueError(f"{groups} groups do not divide {x.shape[-1]} channels")
    return GroupNorm(groups, eps)(x, gamma, beta)
