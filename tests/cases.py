"""What the gradient tests share: random shapes and arrays, and which Functions there are."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

import tinyvit.autograd
from tinyvit.autograd import Function, Tensor
from tinyvit.autograd.function import Part

lengths = st.sampled_from([1, 2, 3, 5])
shapes = st.lists(lengths, max_size=3).map(tuple)
seeds = st.integers(0, 2**32 - 1)


class Case(NamedTuple):
    """A function of Tensors, and the float64 arrays at which to check its gradient."""

    function: Callable[..., Tensor]
    inputs: list[np.ndarray]


@st.composite
def layouts(draw, array: np.ndarray) -> np.ndarray:
    """The same numbers, laid out in memory in one of several ways, most of them not contiguous."""
    layout = draw(st.sampled_from(["C", "Fortran", "reversed", "every other", "inner of a larger one"]))
    if array.ndim == 0 or layout == "C":
        return array
    if layout == "Fortran":
        return np.asfortranarray(array)
    if layout == "reversed":
        return np.ascontiguousarray(array[::-1])[::-1]
    if layout == "every other":
        return np.repeat(array, 2, axis=-1)[..., ::2]
    return np.pad(array, 1)[(slice(1, -1),) * array.ndim]


@st.composite
def normal(draw, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers in any layout."""
    return draw(layouts(np.asarray(np.random.default_rng(draw(seeds)).standard_normal(shape))))


@st.composite
def positive(draw, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers from 0.5 to 2.5 in any layout, where log, sqrt and division are smooth."""
    return draw(layouts(np.asarray(np.random.default_rng(draw(seeds)).uniform(0.5, 2.5, shape))))


@st.composite
def distinct(draw, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Arrays whose numbers all differ by 0.1 at least, so that which is the largest doesn't change nearby."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    values = np.random.default_rng(draw(seeds)).permutation(sum(sizes)) * 0.1
    parts = np.split(values, np.cumsum(sizes)[:-1])
    return [draw(layouts(part.reshape(shape))) for part, shape in zip(parts, shapes, strict=True)]


def functions_in(module) -> list[type[Function]]:
    """The Functions that a module defines, without base classes that have no forward."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Function)
        and value.__module__ == module.__name__
        and hasattr(value, "forward")
    ]


def all_functions() -> set[type[Function]]:
    """Every Function in tinyvit.autograd, whatever file it is in."""
    names = [info.name for info in pkgutil.walk_packages(tinyvit.autograd.__path__, "tinyvit.autograd.")]
    return {function for name in names for function in functions_in(importlib.import_module(name))}


def functions_used(output: Tensor) -> Iterator[type[Function]]:
    """The type of every Function in the graph that ends in ``output``."""
    stack = [output.creator]
    while stack:
        node = stack.pop()
        if isinstance(node, Function):
            yield type(node)
        if isinstance(node, Function | Part):
            stack.extend(node.sources)
