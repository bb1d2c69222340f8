"""The one setting of the process, outside of our code, that decides how fast NumPy is."""

import ctypes
import sys


def keep_freed_memory() -> None:
    """Tell glibc's malloc to keep freed arrays for the next ones instead of handing them back to the system.

    Each training step frees and takes the same arrays, and each page that comes fresh from the system costs a fault:
    a fifth of the step (575 against 460 ms for a tiny model, 64 images of 28 x 28, one thread of a Zen 5). Does nothing
    where the C library is another.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    trim_threshold, mmap_max, arena_max = -1, -4, -8
    mallopt(mmap_max, 0)  # large arrays come from the heap too
    mallopt(trim_threshold, 2**31 - 1)  # whose unused end is given back only above 2 GB
    mallopt(arena_max, 1)  # one heap for all threads: what one frees, another can use
