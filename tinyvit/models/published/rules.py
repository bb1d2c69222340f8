"""How a format's arrays correspond to tinyvit's parameters: names, and transposes that go both ways."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class Form:
    """How a parameter is written elsewhere, as one array or several, and read back.

    Attributes:
        give: the arrays that a parameter is written as.
        take: the parameter that arrays are read as.
        copies: whether ``take`` copies; otherwise it gives a view.
    """

    give: Callable[[np.ndarray], list[np.ndarray]]
    take: Callable[..., np.ndarray]
    copies: bool = False


@dataclasses.dataclass(frozen=True)
class Rule:
    """A parameter's names elsewhere, one for each array of its form."""

    names: tuple[str, ...]
    form: Form


Rules = dict[str, Rule]  # by the parameter's name in tinyvit

AS_IS = Form(lambda a: [a], lambda a: a)
# tinyvit's matrices are (in, out), PyTorch's (out, in).
TRANSPOSED = Form(lambda a: [a.T], lambda a: a.T)
# Queries, keys and values stand in three arrays.
THREE_VECTORS = Form(lambda a: np.split(a, 3), lambda *parts: np.concatenate(parts), copies=True)
THREE_MATRICES = Form(
    lambda a: [part.T for part in np.split(a, 3, axis=1)],
    lambda *parts: np.concatenate([part.T for part in parts], axis=1),
    copies=True,
)


def torch_patches(size: int) -> Form:
    """tinyvit's (P P C, D) as PyTorch's convolution kernel (D, C, P, P)."""
    return Form(
        lambda a: [a.reshape(size, size, -1, a.shape[1]).transpose(3, 2, 0, 1)],
        lambda a: a.transpose(2, 3, 1, 0).reshape(-1, a.shape[0]),
        copies=True,
    )


def rule(form: Form, *names: str) -> Rule:
    return Rule(names, form)


def linear(ours: str, theirs: str) -> Rules:
    """A linear layer, with PyTorch's names."""
    return {
        f"{ours}.weight": rule(TRANSPOSED, f"{theirs}.weight"),
        f"{ours}.bias": rule(AS_IS, f"{theirs}.bias"),
    }


def norm(ours: str, theirs: str) -> Rules:
    """A normalisation, with PyTorch's names."""
    return {f"{ours}.gamma": rule(AS_IS, f"{theirs}.weight"), f"{ours}.beta": rule(AS_IS, f"{theirs}.bias")}


def repeated(rules: Rules, ours: str, theirs: str, count: int) -> Rules:
    """The rules of one block, for ``count`` of them: ``ours`` and ``theirs`` stand before a block's names, with {} for
    its number."""
    return {
        ours.format(i) + name: Rule(tuple(theirs.format(i) + other for other in one.names), one.form)
        for i in range(count)
        for name, one in rules.items()
    }


def arrays_of(parameters: Mapping[str, np.ndarray], rules: Rules) -> dict[str, np.ndarray]:
    """Parameters as the format has them. Raises KeyError for a parameter that it cannot hold."""
    arrays = {}
    for name, parameter in parameters.items():
        arrays.update(zip(rules[name].names, rules[name].form.give(parameter), strict=True))
    return arrays
