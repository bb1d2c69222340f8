"""Streams and events of the stand-in for CuPy, which prove that what one stream uses of another's is ready, and that
memory is not given back to a stream while another still reads it.

Nothing runs asynchronously here. Instead each stream counts its operations, and remembers how far each other stream was
at the events that it has waited for (a vector clock); so an order that is missing is found in every run, whatever the
timing.
"""

import contextlib
import itertools
import threading
import weakref

import numpy as np

_current = threading.local()
_numbers = itertools.count()


class Counts:
    """How often Python waited for the device, by thread, and copied to it; and what is wrong with the order."""

    def __init__(self):
        self.by_thread: dict[str, int] = {}
        self.copies = 0
        self.races: list[str] = []

    def wait(self) -> None:
        name = threading.current_thread().name
        self.by_thread[name] = self.by_thread.get(name, 0) + 1

    @property
    def synchronisations(self) -> int:
        """Waits of the thread that runs the test."""
        return self.by_thread.get(threading.current_thread().name, 0)


class Order:
    """What was done on each stream, and to each piece of memory, so far."""

    def __init__(self, counts: Counts):
        self.counts = counts
        self.memories: dict[int, Memory] = {}
        self.copies: list[PinnedCopy] = []
        self.pinned: set[int] = set()
        self.done: dict[Stream, int] = {}  # how far the host has waited for each stream

    def before(self, stamp: "tuple[Stream, int]", stream: "Stream") -> bool:
        """Whether an operation, given by stream and number, comes before all that is now queued on ``stream``."""
        other, number = stamp
        return other is stream or max(stream.seen.get(other, 0), self.done.get(other, 0)) >= number

    def use(self, array: np.ndarray, write: bool = False) -> None:
        """Note that an operation on the current stream reads (or writes) an array."""
        stream, memory = current(), self.memory(array)
        if not self.before(memory.written, stream):
            self.counts.races.append(f"{stream} uses an array before {memory.written[0]} has made it")
        stream.count += 1
        memory.used[stream] = stream.count
        if write:
            memory.written = (stream, stream.count)

    def memory(self, array: np.ndarray) -> "Memory":
        """What holds the numbers of an array; of a new one, made by the current stream."""
        root = root_of(array)
        found = self.memories.get(id(root))
        if found is None:
            stream = current()
            stream.count += 1
            found = self.memories[id(root)] = Memory(stream)
            weakref.finalize(root, self.freed, id(root)).atexit = False
        return found

    def freed(self, number: int) -> None:
        memory = self.memories.pop(number)
        for stamp in memory.used.items():
            if not self.before(stamp, memory.owner):
                self.counts.races.append(f"{memory.owner} gets memory back that {stamp[0]} still reads")

    def copy(self, source: np.ndarray, stream: "Stream | None") -> None:
        """Note that ``source`` is copied to the device."""
        self.counts.copies += 1
        number = id(root_of(source))
        if stream is None or number not in self.pinned:
            self.counts.wait()  # CUDA reads ordinary memory before it returns
            return
        if any(copy.number == number for copy in self.copies):
            self.counts.races.append("pinned memory is filled again before it was copied")
        self.copies.append(PinnedCopy(number, stream, stream.count))

    def allocate_pinned(self, count: int) -> np.ndarray:
        memory = np.empty(count, np.uint8)
        self.pinned.add(id(memory))
        weakref.finalize(memory, self.pinned_freed, id(memory)).atexit = False
        return memory

    def pinned_freed(self, number: int) -> None:
        self.pinned.discard(number)
        if any(copy.number == number for copy in self.copies):
            self.counts.races.append("pinned memory is freed before it was copied")

    def waited_for_all(self) -> None:
        self.waited({memory.owner: memory.owner.count for memory in self.memories.values()})

    def waited(self, stamp: "dict[Stream, int]") -> None:
        """Note that the host waited for operations."""
        self.counts.wait()
        _merge(self.done, stamp)
        self.copies = [copy for copy in self.copies if self.done.get(copy.stream, 0) < copy.count]


class Memory:
    """Attributes: the stream that it belongs to, the last write, and the last use by each stream."""

    def __init__(self, owner: "Stream"):
        self.owner, self.written, self.used = owner, (owner, owner.count), {}


class PinnedCopy:
    def __init__(self, number: int, stream: "Stream", count: int):
        self.number, self.stream, self.count = number, stream, count


class Event:
    order: Order

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False):
        self.stamp: dict[Stream, int] = {}

    def record(self, stream: "Stream | None" = None) -> None:
        stream = stream or current()
        self.stamp = {**stream.seen, stream: stream.count}

    def synchronize(self) -> None:
        self.order.waited(self.stamp)


class Stream(contextlib.AbstractContextManager):
    null: "Stream"

    def __init__(self, null: bool = False, non_blocking: bool = False):
        assert null or non_blocking, "streams that wait for the default one by themselves are not modelled"
        self.ptr, self.count, self.seen = next(_numbers), 0, {}
        self.before: list[Stream | None] = []

    def __repr__(self):
        return f"stream {self.ptr}"

    def __enter__(self) -> "Stream":
        self.before.append(getattr(_current, "stream", None))
        _current.stream = self
        return self

    def __exit__(self, *_) -> None:
        _current.stream = self.before.pop()

    def record(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        _merge(self.seen, event.stamp)

    def synchronize(self) -> None:
        self.record().synchronize()


def current() -> Stream:
    return getattr(_current, "stream", None) or Stream.null


def root_of(array: np.ndarray) -> np.ndarray:
    """The array whose memory it is."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _merge(stamp: dict, other: dict) -> None:
    for stream, count in other.items():
        stamp[stream] = max(stamp.get(stream, 0), count)
