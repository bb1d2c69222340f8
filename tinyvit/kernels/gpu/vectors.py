"""When a kernel may read and write 16 bytes at once: see vectors.cuh."""

from tinyvit.device import is_gpu_array

BYTES = 16


def vectors(*arrays) -> dict[str, int]:
    """The constants that make a kernel go through ``arrays`` by 16 bytes, or by single numbers where it must.

    By 16 bytes where each row, of the last axis, is a multiple of them, and each array begins at such an address.
    """
    return {} if vector_length(*arrays) > 1 else {"VECTOR": 1}


def vector_length(*arrays) -> int:
    """How many numbers of ``arrays`` the kernel takes at once: the value of VECTOR; 1 where 16 bytes do not fit."""
    whole = all(array.shape[-1] * array.itemsize % BYTES == 0 and _address(array) % BYTES == 0 for array in arrays)
    return BYTES // arrays[0].itemsize if whole else 1


def _address(array) -> int:
    return array.data.ptr if is_gpu_array(array) else array.ctypes.data
