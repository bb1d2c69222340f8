"""Matrix products, which are left to the libraries: cuBLAS on the GPU, BLAS on the CPU."""

import numpy as np

from tinyvit.device import is_gpu_array


def matrix_product(a, b, *, transpose_a: bool = False, transpose_b: bool = False):
    """a b, or with a^T and b^T in their places: 2-D arrays of one type, float32 or bfloat16, and so the result.

    Products of bfloat16 numbers are added up in float32 and rounded once, at the end.
    """
    # Always 2-D: of these CuPy gives cuBLAS the transposed arrays as they lie, and bfloat16 to the tensor cores. Of
    # three and more axes it copies transposed arrays, and refuses bfloat16.
    a, b = a.T if transpose_a else a, b.T if transpose_b else b
    if is_gpu_array(a) or a.dtype == np.float32:
        return a @ b
    return (a.astype(np.float32) @ b.astype(np.float32)).astype(a.dtype)
