"""The most memory that CuPy's arrays take at once."""

from collections.abc import Callable


def peak_bytes(xp, step: Callable[[], object]) -> int:
    """The most bytes that all arrays of ``xp``, CuPy, have taken at once during ``step``.

    CuPy's pool does not remember it as PyTorch's does, so each array that is made or freed is counted, in a step that
    nobody times.
    """
    counted = _counting(xp)
    with counted:
        step()
    return counted.peak


def _counting(xp):
    class Counting(xp.cuda.MemoryHook):
        name = "peak"

        def __init__(self):
            self.now = self.peak = xp.get_default_memory_pool().used_bytes()

        def malloc_postprocess(self, *, mem_size: int, **_) -> None:
            self.now += mem_size
            self.peak = max(self.peak, self.now)

        def free_postprocess(self, *, mem_size: int, **_) -> None:
            self.now -= mem_size

    return Counting()
