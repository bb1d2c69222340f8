"""Arrays between pages of memory that nobody may touch: what runs over an end of one faults."""

import contextlib
import ctypes
import mmap
from collections.abc import Iterator, Sequence

import numpy as np

PAGE = mmap.PAGESIZE
_mprotect = ctypes.CDLL(None, use_errno=True).mprotect
_mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


@contextlib.contextmanager
def guarded(arrays: Sequence[np.ndarray], constant: Sequence[bool], at_end: bool) -> Iterator[list[int]]:
    """Within this block there are copies of C-contiguous arrays, each in memory of its own between two guard pages; at
    the end those that are not constant are copied back. Arrays that overlap are copied together.

    Args:
        at_end: put them right before the guard page behind them, as far as their alignment allows; else right behind
            the one before them.

    Yields:
        The addresses of the copies.
    """
    addresses = [array.ctypes.data for array in arrays]
    pieces: list[list[int]] = []  # start, end and whether to copy back, of each piece of memory
    for address, array, fixed in sorted(zip(addresses, arrays, constant, strict=True), key=lambda item: item[0]):
        if pieces and address < pieces[-1][1]:
            pieces[-1][1:] = max(pieces[-1][1], address + array.nbytes), pieces[-1][2] or not fixed
        else:
            pieces.append([address, address + array.nbytes, not fixed])
    with contextlib.ExitStack() as stack:
        copies = {start: stack.enter_context(_copy(start, end - start, at_end)) for start, end, _ in pieces}
        holding = {address: max(start for start, _, _ in pieces if start <= address) for address in addresses}
        yield [copies[holding[address]] + address - holding[address] for address in addresses]
        for start, end, changed in pieces:
            if changed:
                ctypes.memmove(start, copies[start], end - start)


@contextlib.contextmanager
def _copy(start: int, size: int, at_end: bool) -> Iterator[int]:
    pages = -(-size // PAGE)
    with mmap.mmap(-1, (pages + 2) * PAGE) as memory:
        anchor = ctypes.c_char.from_buffer(memory)
        first = ctypes.addressof(anchor)
        del anchor  # an mmap with views of it cannot be closed
        for guard in (first, first + (pages + 1) * PAGE):
            if _mprotect(guard, PAGE, mmap.PROT_READ * 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        alignment = min(start & -start, 64)
        copy = first + PAGE + ((pages * PAGE - size) // alignment * alignment if at_end else 0)
        ctypes.memmove(copy, start, size)
        yield copy
