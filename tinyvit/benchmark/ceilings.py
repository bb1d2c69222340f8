"""The machine's own limits, measured: how fast NumPy multiplies matrices and moves memory here."""

import dataclasses
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from tinyvit.training.workers import Workers

SIDE = 2048  # of the matrices: large enough for BLAS's best
NUMBERS = 2**25  # in each array that is moved: 128 MB, more than caches hold
REPEATS = 5


@dataclasses.dataclass(frozen=True)
class Ceilings:
    """What nothing here is faster than.

    Attributes:
        products: GFLOP/s of large float32 matrix products, by orientation: those of a linear layer's forward pass,
            input gradient and weight gradient.
        moves: GB/s of memory, by operation; bytes read plus bytes written.
        threads: with how many.
    """

    products: dict[str, float]
    moves: dict[str, float]
    threads: int

    @property
    def gflops(self) -> float:
        """The best rate of any orientation, GFLOP/s."""
        return max(self.products.values())

    @property
    def bandwidth(self) -> float:
        """The best rate of any operation, GB/s."""
        return max(self.moves.values())

    def gflops_at(self, intensity: float) -> float:
        """The roofline: the most GFLOP/s that ``intensity`` FLOP for each byte of memory allow."""
        return min(self.gflops, intensity * self.bandwidth)


def measure_ceilings(threads: int) -> Ceilings:
    """Takes a few seconds and half a gigabyte."""
    return Ceilings(product_rates(threads), move_rates(threads), threads)


def product_rates(threads: int, side: int = SIDE) -> dict[str, float]:
    """GFLOP/s of side x side matrix products in each orientation: the better of BLAS's own threads on one product
    and a product for each of our workers, which is how the training step uses BLAS."""
    random = np.random.default_rng(0)
    a, b = (random.random((side, side), dtype=np.float32) for _ in range(2))
    outs = [np.empty((side, side), np.float32) for _ in range(threads)]
    rates = {}
    for name, left, right in (("x W", a, b), ("dy W^T", a, b.T), ("x^T dy", a.T, b)):
        with threadpool_limits(threads, "blas"):
            shared = _best_seconds(lambda left=left, right=right: np.matmul(left, right, out=outs[0]))
        with Workers(threads) as workers:
            tasks = _best_seconds(
                lambda left=left, right=right, workers=workers: workers.map(
                    lambda out: np.matmul(left, right, out=out), outs
                )
            )
        rates[name] = 2 * side**3 / min(shared, tasks / threads) / 1e9
    return rates


def move_rates(threads: int, numbers: int = NUMBERS) -> dict[str, float]:
    """GB/s of two of the operations of STREAM (McCalpin, 1995), each array cut into a part for each thread."""
    arrays = [np.zeros(numbers, np.float32) for _ in range(3)]
    parts = [[part for part in np.array_split(array, threads)] for array in arrays]
    operations: dict[str, tuple[Callable, int]] = {
        "copy": (lambda a, b, c: np.copyto(c, a), 2),
        "add": (lambda a, b, c: np.add(a, b, out=c), 3),
    }
    rates = {}
    with Workers(threads) as workers:
        for array in arrays:
            array.fill(1)  # so that the pages are there
        for name, (operation, touched) in operations.items():
            seconds = _best_seconds(lambda operation=operation: workers.map(operation, *parts))
            rates[name] = touched * arrays[0].nbytes / seconds / 1e9
    return rates


def _best_seconds(task: Callable) -> float:
    """The shortest of a few runs after one to warm up: a ceiling is what is possible."""
    task()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
