"""GELU (Hendrycks and Gimpel, 2016) on the GPU: see gelu.cu."""

from tinyvit.device import array_module
from tinyvit.kernels.gpu.launch import launch, storage
from tinyvit.kernels.gpu.vectors import vector_length, vectors

THREADS = 256


def gelu_forward(x, form: str, for_backward: bool, out=None, out_derivative=None):
    """y = x P(x), with P the normal distribution function ("exact") or its tanh approximation ("tanh").

    Args:
        x: any shape.
        form: "tanh" or "exact".
        for_backward: whether to return the derivative as well, which costs one more write here, and in backward
            saves the function's evaluation.
        out, out_derivative: arrays to write to, C-contiguous, of x's shape. ``out`` may be x itself.

    Returns:
        y, and dy/dx or None, of x's shape.

    Raises:
        ValueError: another form, or arrays to write to that are not of x's shape.
        TypeError: arrays that are neither float32 nor bfloat16, or not all of one type.
    """
    xp = array_module(x)
    out = xp.empty(x.shape, x.dtype) if out is None else out
    if for_backward and out_derivative is None:
        out_derivative = xp.empty(x.shape, x.dtype)
    derivative = out_derivative if for_backward else None
    for array in (out, derivative):
        if array is not None and array.shape != x.shape:
            raise ValueError(f"gelu_forward writes arrays of x's shape {x.shape}, given was one of {array.shape}")
    _launch("gelu_forward", (xp.ascontiguousarray(x), out, derivative), **gelu_constants(form, for_backward))
    return out, derivative


def gelu_backward(dout, derivative):
    """dx = dout dy/dx, with the derivative that forward returned: all of one shape.

    Raises:
        TypeError: arrays that are neither float32 nor bfloat16, or not all of one type.
    """
    xp = array_module(dout)
    dx = xp.empty(dout.shape, dout.dtype)
    _launch("gelu_backward", (xp.ascontiguousarray(dout), xp.ascontiguousarray(derivative), dx))
    return dx


def gelu_constants(form: str, for_backward: bool) -> dict[str, int]:
    """The constants that a kernel with GELU in it is compiled with.

    Raises:
        ValueError: an unknown form.
    """
    if form not in ("tanh", "exact"):
        raise ValueError(f"unknown GELU form {form!r}: known are 'tanh' and 'exact'")
    constants = {"EXACT": 1} if form == "exact" else {}
    return constants | {"FOR_BACKWARD": 1} if for_backward else constants


def _launch(kernel: str, arrays: tuple, **constants: int) -> None:
    """Run a kernel over arrays of one shape, whatever it is: to the kernel they are one long row."""
    count = arrays[0].size
    long_rows = [array.reshape(-1) for array in arrays if array is not None]
    numbers_a_block = THREADS * vector_length(*long_rows)
    grid = (max(1, -(-count // numbers_a_block)),)
    launch("gelu", kernel, grid, (THREADS,), (*arrays, count), **storage(arrays[0]), **vectors(*long_rows), **constants)
