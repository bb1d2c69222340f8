"""All parameters of a model in one array, so that optimiser, clipping and averaging are a few calls."""

import contextlib
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from tinyvit.nn import Module

ALIGNMENT = 16  # float32 numbers in 64 bytes: a cache line, and the widest vector register


class FlatParameters:
    """Moves the parameters of ``model`` into one array, of which each becomes a view.

    Matrices (the weights of linear layers) come first: they alone decay, so weight decay is a matter of one boundary.

    Attributes:
        data: (size,), the parameters, each starting at a multiple of 64 bytes, with zeros between them.
        decay_end: where the matrices end.
    """

    def __init__(self, model: Module):
        named = sorted(model.named_parameters(), key=lambda item: item[1].ndim != 2)
        self.parameters = [parameter for _, parameter in named]
        self._places: dict[str, tuple[slice, tuple[int, ...]]] = {}
        self.decay_end = end = 0
        for name, parameter in named:
            self._places[name] = (slice(end, end + parameter.size), parameter.shape)
            end += -(-parameter.size // ALIGNMENT) * ALIGNMENT
            if parameter.ndim == 2:
                self.decay_end = end
        self.data = self.gather([parameter.data for parameter in self.parameters], np.zeros(end, np.float32))
        self._point_to(self.data)

    def zeros(self) -> np.ndarray:
        """An array of the same layout."""
        return np.zeros_like(self.data)

    def gather(self, arrays: Sequence[np.ndarray], out: np.ndarray) -> np.ndarray:
        """Copy one array per parameter, in the order of ``parameters``, to their places in ``out``."""
        for (place, _), array in zip(self._places.values(), arrays, strict=True):
            out[place] = array.reshape(-1)
        return out

    def views(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """The parts of an array of this layout, by parameter name."""
        return {name: flat[place].reshape(shape) for name, (place, shape) in self._places.items()}

    @contextlib.contextmanager
    def replaced_by(self, flat: np.ndarray) -> Iterator[None]:
        """Within this block the model computes with the parameters in ``flat``."""
        self._point_to(flat)
        try:
            yield
        finally:
            self._point_to(self.data)

    def parts(self, count: int) -> list[tuple[slice, bool]]:
        """Cut the layout for ``count`` workers: slices, and whether each decays."""
        cuts = []
        for start, end, decays in ((0, self.decay_end, True), (self.decay_end, self.data.size, False)):
            edges = np.linspace(start, end, count + 1).astype(int)
            cuts += [(slice(a, b), decays) for a, b in itertools.pairwise(edges)]
        return cuts

    def _point_to(self, flat: np.ndarray) -> None:
        for parameter, view in zip(self.parameters, self.views(flat).values(), strict=True):
            parameter.data = view
