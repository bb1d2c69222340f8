"""Where a step's time goes: each kernel of the table, timed while the step runs as it always does."""

import contextlib
import dataclasses
import functools
import threading
import time
from collections.abc import Callable, Iterator

from tinyvit import kernels
from tinyvit.benchmark.work import Work, work_of

REST = "everything else"


@dataclasses.dataclass(frozen=True)
class Part:
    """What one kernel takes of a step.

    Attributes:
        name: the kernel's, or "everything else".
        calls: in a step, by all workers together.
        seconds: of a step; what all workers spend in it, divided by their number.
        share: of the step's time; those of all parts sum to 1.
        work: in a step, by all workers together; None for everything else.
    """

    name: str
    calls: float
    seconds: float
    share: float
    work: Work | None = None

    @property
    def gflops(self) -> float:
        """GFLOP/s of all workers together."""
        return self.work.flop / self.seconds / 1e9

    @property
    def bandwidth(self) -> float:
        """GB/s of all workers together: bytes that must move, divided by the time."""
        return self.work.bytes / self.seconds / 1e9


def breakdown(step: Callable[[], object], repeats: int, workers: int) -> list[Part]:
    """Run ``step`` and time the kernels in it: the parts, the longest first and everything else last.

    "Everything else" is Python, NumPy outside of the kernels (the residual sums, patches, gathering gradients) and
    workers that wait for each other.

    Args:
        step: takes ``workers`` threads, all of the time.
        repeats: steps to take the mean of.
    """
    work = counted_work(step)  # in a step of its own, for counting takes time; every step does the same
    spent: dict[str, list[float]] = {name: [] for name in work}

    def measure(name, kernel, args, kwargs):
        start = time.perf_counter()
        result = kernel(*args, **kwargs)
        spent[name].append(time.perf_counter() - start)  # appending to a list is safe from any thread
        return result

    with kernels_called_through(measure):
        start = time.perf_counter()
        for _ in range(repeats):
            step()
        whole = (time.perf_counter() - start) / repeats

    times = {name: (len(seconds) / repeats, sum(seconds) / repeats / workers) for name, seconds in spent.items()}
    return parts_of(whole, times, work)


def counted_work(step: Callable[[], object]) -> dict[str, Work]:
    """The work of each kernel in a step, by all threads together."""
    work: dict[str, Work] = {}
    lock = threading.Lock()

    def count(name, kernel, args, kwargs):
        result = kernel(*args, **kwargs)
        flop, moved = work_of(name, kernel, args, kwargs, result)
        with lock:
            before = work.get(name, Work(0, 0))
            work[name] = Work(before.flop + flop, before.bytes + moved)
        return result

    with kernels_called_through(count):
        step()
    return work


def parts_of(whole: float, times: dict[str, tuple[float, float]], work: dict[str, Work]) -> list[Part]:
    """The parts of a step that took ``whole`` seconds, from the calls and seconds of each kernel."""
    parts = [Part(name, calls, seconds, seconds / whole, work[name]) for name, (calls, seconds) in times.items()]
    parts.sort(key=lambda part: -part.seconds)
    rest = whole - sum(part.seconds for part in parts)
    return [*parts, Part(REST, 0, rest, rest / whole)]


def tokens_asking_last(step: Callable[[], object]) -> int:
    """Of how many tokens the last block computes the output in a step: 1 where only the class token's is read."""
    seen = []

    def look(name, kernel, args, kwargs):
        result = kernel(*args, **kwargs)
        if name == "attention_forward":
            seen.append(result[0].shape[1])
        return result

    with kernels_called_through(look):
        step()
    return seen[-1]


@contextlib.contextmanager
def kernels_called_through(call: Callable) -> Iterator[None]:
    """Within this block, in all threads, a kernel of the table is called as ``call(name, kernel, args, kwargs)``.

    A kernel that calls another one of the table counts as one.
    """
    inside = threading.local()

    def wrapped(name: str, kernel: Callable) -> Callable:
        @functools.wraps(kernel)
        def wrapper(*args, **kwargs):
            if getattr(inside, "kernel", False):
                return kernel(*args, **kwargs)
            inside.kernel = True
            try:
                return call(name, kernel, args, kwargs)
            finally:
                inside.kernel = False

        return wrapper

    originals = {name: getattr(kernels, name) for names in kernels.KERNELS.values() for name in names}
    for name, kernel in originals.items():
        setattr(kernels, name, wrapped(name, kernel))
    try:
        yield
    finally:
        for name, kernel in originals.items():
            setattr(kernels, name, kernel)
