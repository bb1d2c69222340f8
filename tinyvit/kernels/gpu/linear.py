"""Linear: y = x W + b. The products are cuBLAS's, the bias is added by linear.cu."""

from tinyvit.device import array_module
from tinyvit.kernels.gpu.columns import launch_by_columns
from tinyvit.kernels.gpu.matrix_product import matrix_product
from tinyvit.kernels.gpu.sums import column_sums


def linear_forward(x, weight, bias):
    """x (..., in), weight (in, out), bias (out,) -> (..., out).

    Raises:
        TypeError: arrays that are neither float32 nor bfloat16, or not all of one type.
    """
    out = matrix_product(contiguous_rows(x), weight)
    add_bias(out, bias)
    return out.reshape(*x.shape[:-1], weight.shape[1])


def linear_backward(dout, x, weight, *, needs_dx: bool = True):
    """dout (..., out), x (..., in), weight (in, out) -> dx (..., in), dweight (in, out), dbias (out,).

    dx = dout W^T, dW = x^T dout, db = the sum of dout over rows. ``needs_dx=False`` saves the first where x is data.

    Raises:
        TypeError: arrays that are neither float32 nor bfloat16, or not all of one type.
    """
    dout = contiguous_rows(dout)
    dx = matrix_product(dout, weight, transpose_b=True).reshape(x.shape) if needs_dx else None
    return dx, matrix_product(contiguous_rows(x), dout, transpose_a=True), column_sums(dout)


def add_bias(y, bias) -> None:
    """y += bias, in place: y (rows, D), C-contiguous, bias (D,)."""
    launch_by_columns("linear", "add_bias", (y,), array_module(bias).ascontiguousarray(bias))


def contiguous_rows(x):
    """x (..., D) as (rows, D), C-contiguous: x itself, seen otherwise, or a copy where it has other strides."""
    return array_module(x).ascontiguousarray(x.reshape(-1, x.shape[-1]))
