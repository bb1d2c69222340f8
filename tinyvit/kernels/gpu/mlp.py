"""The MLP of an encoder block: linear, GELU, linear. The products are cuBLAS's, the rest is in mlp.cu."""

from tinyvit.device import array_module
from tinyvit.kernels.gpu.columns import launch_by_columns, partial_sums_by_columns
from tinyvit.kernels.gpu.gelu import gelu_constants
from tinyvit.kernels.gpu.linear import add_bias, contiguous_rows
from tinyvit.kernels.gpu.matrix_product import matrix_product
from tinyvit.kernels.gpu.sums import column_sums, sum_of_partials


def mlp_forward(x, weight1, bias1, weight2, bias2, form: str, for_backward: bool):
    """y = gelu(x W1 + b1) W2 + b2.

    Args:
        x: (..., D).
        weight1, bias1, weight2, bias2: (D, M), (M,), (M, D), (D,).
        form: "tanh" or "exact", the GELU's.
        for_backward: False leaves out what only backward needs.

    Returns:
        y (..., D), and for backward: gelu's result and its derivative, both (rows, M) (else None, None).

    Raises:
        ValueError: another form.
        TypeError: arrays that are neither float32 nor bfloat16, or not all of one type.
    """
    xp = array_module(x)
    constants = gelu_constants(form, for_backward)
    hidden = matrix_product(contiguous_rows(x), weight1)
    derivative = xp.empty_like(hidden) if for_backward else None
    matrices, bias = (hidden, derivative), xp.ascontiguousarray(bias1)
    launch_by_columns("mlp", "bias_gelu_forward", matrices, bias, **constants)
    out = matrix_product(hidden, weight2)
    add_bias(out, bias2)
    return out.reshape(*x.shape[:-1], out.shape[1]), hidden if for_backward else None, derivative


def mlp_backward(dout, x, hidden, derivative, weight1, weight2):
    """dout (..., D) and what forward saved -> dx, dweight1, dbias1, dweight2, dbias2, of their inputs' shapes.

    Two linear layers' backward passes with gelu's slope between them.

    Raises:
        TypeError: arrays that are neither float32 nor bfloat16, or not all of one type.
    """
    rows, dout_rows = contiguous_rows(x), contiguous_rows(dout)
    dhidden = matrix_product(dout_rows, weight2, transpose_b=True)
    partials = partial_sums_by_columns("mlp", "bias_gelu_backward", dhidden, derivative)
    return (
        matrix_product(dhidden, weight1, transpose_b=True).reshape(x.shape),
        matrix_product(rows, dhidden, transpose_a=True),
        sum_of_partials(partials, dhidden.dtype),
        matrix_product(hidden, dout_rows, transpose_a=True),
        column_sums(dout_rows),
    )
