"""One kernel's time, and the sizes at which kernels are timed."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from tinyvit.benchmark.rows import Row
from tinyvit.device import Device

SIDE = 8192  # of the square matrices whose product is the ceiling
NUMBERS = 2**28  # of the arrays whose copy is the ceiling
LESSON_SIDE = 4096  # of the matrices of the lessons: a naive product of them takes a tenth of a second


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of the GPU, with the FLOP or the bytes that were due in them; 0 for what does not count there."""

    seconds: float
    flop: int = 0
    bytes: int = 0

    @property
    def rate(self) -> str:
        """Such as "612.3 TFLOP/s" or "2,710 GB/s"; "" for neither."""
        if self.flop:
            return f"{self.flop / self.seconds / 1e12:.1f} TFLOP/s"
        return f"{self.bytes / self.seconds / 1e9:,.0f} GB/s" if self.bytes else ""


Timings = dict[str, dict[str, Timing]]
"""Group -> what was done -> its time. Both libraries use the same names where they do the same."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """At which sizes the kernels of a model are timed: batch B, tokens N, width D, heads H, mlp_width M."""

    name: str
    batch: int
    tokens: int
    width: int
    heads: int
    mlp_width: int

    @classmethod
    def of(cls, row: Row) -> "Sizes":
        config = row.config
        return cls(row.name, row.batch_size, config.tokens, config.width, config.heads, config.mlp_width)

    @property
    def rows(self) -> int:
        return self.batch * self.tokens

    def products(self) -> Iterator[tuple[str, int, int]]:
        """Each linear layer of a block: its name, inputs and outputs."""
        for layer, inputs, outputs in (
            ("qkv", self.width, 3 * self.width),
            ("out", self.width, self.width),
            ("linear1", self.width, self.mlp_width),
            ("linear2", self.mlp_width, self.width),
        ):
            yield f"{self.name}: {layer}", inputs, outputs

    @property
    def attention_flop(self) -> int:
        """Of one of the products of attention, q k^T or A v: two in forward, four in backward."""
        return 2 * self.batch * self.tokens**2 * self.width


def random_array(device: Device, *shape: int, dtype: np.dtype | None = None):
    """Normal numbers on the device, in its type or another."""
    numbers = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return device.put(numbers).astype(dtype or device.dtype)
