"""Where a step's time goes on a GPU: each kernel of the table, between two marks in the stream."""

from collections.abc import Callable

from tinyvit.benchmark.breakdown import Part, counted_work, kernels_called_through, parts_of
from tinyvit.benchmark.on_gpu.clocks import Clock


def breakdown(step: Callable[[], object], clock: Clock, repeats: int, queueing: float) -> list[Part]:
    """Run ``step`` and time the kernels in it: the parts, the longest first and everything else last.

    "Everything else" is what CuPy computes outside of the kernels: patches, gathering gradients, residual sums.

    Args:
        repeats: steps to take the mean of.
        queueing: seconds that Python takes to queue a step. As long the GPU waits before each, and longer, so that
            it never waits within one.
    """
    work = counted_work(step)
    marks: list[tuple[str, object, object]] = []

    def between_marks(name, kernel, args, kwargs):
        before = clock.mark()
        result = kernel(*args, **kwargs)
        marks.append((name, before, clock.mark()))
        return result

    times: dict[str, tuple[float, float]] = dict.fromkeys(work, (0.0, 0.0))
    whole = 0.0
    with kernels_called_through(between_marks):
        for _ in range(repeats):
            marks.clear()
            clock.synchronize()
            clock.spin(3 * queueing)
            start = clock.mark()
            step()
            end = clock.mark()
            clock.synchronize()
            whole += clock.seconds(start, end) / repeats
            for name, before, after in marks:
                calls, seconds = times[name]
                times[name] = calls + 1 / repeats, seconds + clock.seconds(before, after) / repeats
    return parts_of(whole, times, work)
