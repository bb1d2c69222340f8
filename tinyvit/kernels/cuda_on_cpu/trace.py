"""A list of what the threads of one block do, to step through a kernel."""

import contextlib
import contextvars
import ctypes
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tinyvit.kernels.cuda_on_cpu import structures
from tinyvit.kernels.cuda_on_cpu.structures import Array, Launch


@dataclasses.dataclass(frozen=True)
class Event:
    """One step of one thread.

    Attributes:
        thread: its index in the block, (x, y, z).
        line: where in the source, "file:line".
        what: "read", "write", "update" (atomically), or the operation that it waits in, such as "__syncthreads".
        array: the parameter or shared array that it reads or writes; "" where it waits.
        index: which element, counted as if the array had one axis; the first of several where it takes several at once.
        value: what it read or wrote: a number, or a tuple where it takes several at once.
    """

    thread: tuple[int, int, int]
    line: str
    what: str
    array: str = ""
    index: int | None = None
    value: float | int | tuple | None = None


@dataclasses.dataclass
class Trace:
    """What is to be traced, and what has been."""

    block: tuple[int, int, int]
    limit: int
    events: list[Event] = dataclasses.field(default_factory=list)


_trace: contextvars.ContextVar[Trace | None] = contextvars.ContextVar("trace", default=None)


@contextlib.contextmanager
def tracing(block: tuple[int, int, int] = (0, 0, 0), limit: int = 10_000) -> Iterator[list[Event]]:
    """Within this block the steps of one block of each kernel that runs go into a list, ``limit`` of them at most.

    >>> from tinyvit.kernels import cuda_on_cpu
    >>> module = cuda_on_cpu.Module.from_text('''
    ... extern "C" __global__ void reverse(float *x) {
    ...     float mine = x[blockDim.x - 1 - threadIdx.x];
    ...     __syncthreads();
    ...     x[threadIdx.x] = mine;
    ... }''', name="reverse.cu")
    >>> x = np.array([10, 20], np.float32)
    >>> with cuda_on_cpu.tracing() as events:
    ...     module.get_function("reverse")((1,), (2,), (x,))
    >>> for event in events:
    ...     print(event.thread[0], event.line, event.what, event.array, event.index, event.value)
    0 reverse.cu:3 read x 1 20.0
    0 reverse.cu:4 __syncthreads  None None
    1 reverse.cu:3 read x 0 10.0
    1 reverse.cu:4 __syncthreads  None None
    0 reverse.cu:5 write x 0 20.0
    1 reverse.cu:5 write x 1 10.0
    """
    trace = Trace(block, limit)
    token = _trace.set(trace)
    try:
        yield trace.events
    finally:
        _trace.reset(token)


def prepare(launch: Launch) -> Trace | None:
    """Ask the library for events, if somebody wants them."""
    trace = _trace.get()
    if trace is None or len(trace.events) >= trace.limit:
        return None
    launch.event_limit = trace.limit - len(trace.events)
    launch.traced = structures.Index(*trace.block)
    launch.events = (structures.Event * launch.event_limit)()
    return trace


def collect(
    trace: Trace, launch: Launch, arrays: Sequence[tuple[Array, np.dtype]], lines: Callable[[list[int]], dict[int, str]]
) -> None:
    """Add the events of a launch to the trace. ``lines`` tells the lines of code at offsets in the library."""
    found = launch.events[: launch.event_count]
    of_code = lines([event.code for event in found if event.what != structures.WAITS])
    trace.events.extend(_event(event, arrays, of_code) for event in found)


def _event(event: structures.Event, arrays: Sequence[tuple[Array, np.dtype]], lines: dict[int, str]) -> Event:
    thread = tuple(event.thread)
    if event.what == structures.WAITS:
        return Event(thread, f"{event.file.decode()}:{event.line}", event.operation.decode())
    array, dtype = arrays[event.array]
    values = np.frombuffer(ctypes.string_at(event.value, min(event.size, 16)), dtype).tolist()
    return Event(
        thread,
        lines[event.code],
        ("read", "write", "update")[event.what],
        array.name.decode(),
        event.offset // dtype.itemsize,
        values[0] if len(values) == 1 else tuple(values),
    )
