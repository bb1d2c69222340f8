"""TF32: products of float32 matrices on the tensor cores, which round their numbers to 10 bits after the point."""

import contextlib
from collections.abc import Iterator

from tinyvit.errors import InputError

FIRST_CAPABILITY = 80  # compute capability 8.0, Ampere: the first tensor cores that take TF32


@contextlib.contextmanager
def use_tf32() -> Iterator[None]:
    """Within this block cuBLAS multiplies float32 matrices in TF32, in all threads of the process.

    It rounds each number to TF32 (the range of float32, the precision of float16), and adds up in float32: about 1e-3
    relative error for several times the speed.

    Raises:
        InputError: the GPU is older than TF32; the products would stay in float32 without a word.
    """
    import cupy

    # CuPy's one public switch is the environment variable CUPY_TF32, read once, before the first product of a process.
    # What that sets in the end can be set here at any time, and set back.
    from cupy._core import _routines_linalg as products

    capability = cupy.cuda.Device().compute_capability
    if int(capability) < FIRST_CAPABILITY:
        raise InputError(
            f"TF32 needs a GPU of compute capability 8.0 or more, this one has {capability[:-1]}.{capability[-1]}: "
            "use --precision float32"
        )
    before = products.get_compute_type("float32")
    products.set_compute_type("float32", products.COMPUTE_TYPE_TF32)
    try:
        yield
    finally:
        products.set_compute_type("float32", before)
