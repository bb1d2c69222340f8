"""All parameters of a model in one array, so that optimiser, clipping and averaging are a few calls."""

import contextlib
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from tinyvit.device import CPU, Device, to_numpy
from tinyvit.nn import Module

ALIGNMENT = 16  # float32 numbers in 64 bytes: a cache line, and the widest vector register


class FlatParameters:
    """Moves the parameters of ``model`` into one array on ``device``, of which each becomes a view.

    Matrices (the weights of linear layers) come first: they alone decay, so weight decay is a matter of one boundary.

    Attributes:
        data: float32 (size,), the parameters, each starting at a multiple of 16 numbers, with zeros between them. The
            optimiser changes these.
        working: what the model computes with: ``data`` itself, or a copy in bfloat16 where the device computes in that.
            An optimiser's step is often too small to change a bfloat16 number; in float32 the steps add up.
        decay_end: where the matrices end.
    """

    def __init__(self, model: Module, device: Device = CPU):
        self.device = device
        named = sorted(model.named_parameters(), key=lambda item: item[1].ndim != 2)
        self.parameters = [parameter for _, parameter in named]
        self._places: dict[str, tuple[slice, tuple[int, ...]]] = {}
        self.decay_end = end = 0
        for name, parameter in named:
            self._places[name] = (slice(end, end + parameter.size), parameter.shape)
            end += -(-parameter.size // ALIGNMENT) * ALIGNMENT
            if parameter.ndim == 2:
                self.decay_end = end
        self._gaps = self._zeros_between(end)
        start = np.zeros(end, np.float32)
        for (place, _), parameter in zip(self._places.values(), self.parameters, strict=True):
            start[place] = to_numpy(parameter.data).reshape(-1)
        self.data = device.put(start)
        self.working = self.data if device.dtype == np.float32 else self.data.astype(device.dtype)
        self._constants = [(constant, device.put(constant.data)) for constant in model.constants()]
        self._point_to(self.working)

    def zeros(self):
        """An array of the same layout."""
        return self.device.xp.zeros_like(self.data)

    def zero_gradients(self):
        """An array of the same layout for gradients, which come in the type of what the model computes with."""
        return self.device.xp.zeros_like(self.working)

    def gather(self, arrays: Sequence, out):
        """Copy one array per parameter, in the order of ``parameters``, to their places in ``out``."""
        # A single call, because on a GPU it is a single kernel.
        pairs = zip((array.reshape(-1) for array in arrays), self._gaps, strict=True)
        return self.device.xp.concatenate([piece for pair in pairs for piece in pair if piece.size], out=out)

    def views(self, flat) -> dict:
        """The parts of an array of this layout, by parameter name."""
        return {name: flat[place].reshape(shape) for name, (place, shape) in self._places.items()}

    @contextlib.contextmanager
    def replaced_by(self, flat) -> Iterator[None]:
        """Within this block the model computes with the parameters in ``flat``, and in its type."""
        self._point_to(flat)
        try:
            yield
        finally:
            self._point_to(self.working)

    def working_part(self, part: slice):
        """What must follow a change of ``data[part]``: that part of ``working``, None where they are one array."""
        return None if self.working is self.data else self.working[part]

    def update_working(self) -> None:
        """Bring ``working`` up to ``data``, after that was changed by another than an optimiser."""
        if self.working is not self.data:
            self.working[...] = self.data.astype(self.working.dtype)

    def parts(self, count: int) -> list[tuple[slice, bool]]:
        """Cut the layout for ``count`` workers: slices, and whether each decays."""
        cuts = []
        for start, end, decays in ((0, self.decay_end, True), (self.decay_end, self.data.size, False)):
            edges = np.linspace(start, end, count + 1).astype(int)
            cuts += [(slice(a, b), decays) for a, b in itertools.pairwise(edges)]
        return cuts

    def _zeros_between(self, end: int) -> list:
        """The zeros that follow each parameter up to where the next one starts."""
        starts = [place.start for place, _ in self._places.values()]
        lengths = [
            after - place.stop for (place, _), after in zip(self._places.values(), [*starts[1:], end], strict=True)
        ]
        zeros = self.device.xp.zeros(max(lengths), self.device.dtype)
        return [zeros[:length] for length in lengths]

    def _point_to(self, flat) -> None:
        for parameter, view in zip(self.parameters, self.views(flat).values(), strict=True):
            parameter.data = view
        for constant, values in self._constants:
            constant.data = values.astype(flat.dtype, copy=False)
