"""Time on a GPU: marks in the stream, and kernels that follow each other without a gap."""

import statistics
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

CYCLES_A_SECOND = 2e9  # about the fastest clock of a GPU, so that a wait is never shorter than asked for
SPIN = """
extern "C" __global__ void spin(long long cycles) {
    long long start = clock64();
    while (clock64() - start < cycles) {}
}
"""
CALLS, ROUND_SECONDS = 20, 0.05  # of a round: at most
ROUNDS = 5
LAUNCHES = 500  # fewer than the 1,024 that CUDA queues before it makes Python wait


class Clock(Protocol):
    """What both libraries can do."""

    def synchronize(self) -> None:
        """Wait until the GPU has done all that is queued."""

    def spin(self, seconds: float) -> None:
        """Queue a kernel that only waits, at least that long."""

    def mark(self):
        """Queue a mark, which the GPU stamps with the time when it comes to it."""

    def seconds(self, start, end) -> float:
        """From one mark to another that the GPU has passed, too."""


class CupyClock:
    """The Clock of the current GPU and stream of ``xp``, CuPy."""

    def __init__(self, xp):
        self.xp = xp
        self._spin = xp.RawKernel(SPIN, "spin")

    def synchronize(self) -> None:
        self.xp.cuda.Device().synchronize()

    def spin(self, seconds: float) -> None:
        self._spin((1,), (1,), (np.int64(seconds * CYCLES_A_SECOND),))

    def mark(self):
        event = self.xp.cuda.Event()
        event.record(self.xp.cuda.get_current_stream())
        return event

    def seconds(self, start, end) -> float:
        return self.xp.cuda.get_elapsed_time(start, end) / 1e3


def seconds_a_call(call: Callable[[], object], clock: Clock) -> float:
    """How long the GPU computes for one ``call``, without what Python takes to queue it: the median of some rounds.

    Before a round a kernel is queued that only waits, for as long as Python needs to queue the calls behind it. So they
    follow each other without a gap, however short they are.
    """
    call()  # compiles, and takes its memory
    clock.synchronize()
    start = time.perf_counter()
    call()
    queueing = time.perf_counter() - start
    clock.synchronize()
    whole = time.perf_counter() - start
    calls = max(1, min(CALLS, int(ROUND_SECONDS / whole)))
    rounds = []
    for _ in range(ROUNDS):
        clock.spin(2 * calls * queueing)
        before = clock.mark()
        for _ in range(calls):
            call()
        after = clock.mark()
        clock.synchronize()
        rounds.append(clock.seconds(before, after) / calls)
    return statistics.median(rounds)


def seconds_a_launch(launch: Callable[[], object], clock: Clock) -> float:
    """How long Python takes to queue one ``launch`` of a very short kernel: the least of some rounds."""
    launch()
    rounds = []
    for _ in range(ROUNDS):
        clock.synchronize()
        start = time.perf_counter()
        for _ in range(LAUNCHES):
            launch()
        rounds.append((time.perf_counter() - start) / LAUNCHES)
    clock.synchronize()
    return min(rounds)
