"""Every elementary operation's gradient against finite differences, on random shapes, layouts and cotangents."""

import itertools

import numpy as np
import pytest
from cases import Case, all_functions, distinct, functions_used, lengths, normal, positive, seeds, shapes
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinyvit.autograd import (
    Tensor,
    amax,
    broadcast_to,
    concatenate,
    elementwise,
    erf,
    exp,
    gradcheck,
    gradients,
    log,
    matmul,
    maximum,
    mean,
    reductions,
    relu,
    sqrt,
    sum,
    tanh,
    transpose,
    where,
)
from tinyvit.autograd import shapes as shape_ops
from tinyvit.autograd.matmul import Matmul


@st.composite
def pairs(draw, operation, second=normal) -> Case:
    """Two arrays that broadcast against each other, either way."""
    given_shapes = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3)).input_shapes
    return Case(operation, [draw(normal(given_shapes[0])), draw(second(given_shapes[1]))])


@st.composite
def single(draw, operation, values=normal) -> Case:
    return Case(operation, [draw(values(draw(shapes)))])


@st.composite
def powers(draw) -> Case:
    exponent = draw(st.sampled_from([-1.5, -1, 0, 0.5, 1, 2, 3]))
    return Case(lambda x: x**exponent, [draw(positive(draw(shapes)))])


@st.composite
def maxima(draw) -> Case:
    given_shapes = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3)).input_shapes
    return Case(maximum, draw(distinct(*given_shapes)))


@st.composite
def choices(draw) -> Case:
    of_condition, *others = draw(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=3)).input_shapes
    condition = np.random.default_rng(draw(seeds)).random(of_condition) < 0.5
    return Case(lambda x, y: where(condition, x, y), [draw(normal(shape)) for shape in others])


@st.composite
def axes(draw, ndim: int):
    """None, one axis or several, counted from either end."""
    if ndim == 0:
        return None
    one = st.integers(-ndim, ndim - 1)
    several = st.lists(one, unique_by=lambda axis: axis % ndim).map(tuple)
    return draw(st.none() | one | several)


@st.composite
def reduced(draw, operation, values=normal) -> Case:
    shape = draw(shapes)
    axis, keepdims = draw(axes(len(shape))), draw(st.booleans())
    return Case(lambda x: operation(x, axis, keepdims), [draw(values(shape))])


@st.composite
def matrix_products(draw) -> Case:
    """All that NumPy's matmul takes: vectors, matrices, and batches of them that broadcast."""
    strategy = hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, max_side=3)
    return Case(matmul, [draw(normal(shape)) for shape in draw(strategy).input_shapes])


@st.composite
def reshaped(draw) -> Case:
    shape = draw(shapes)
    new = draw(st.sampled_from([(-1,), (1, *shape), shape[::-1], (*shape[:1], -1, 1)]))
    return Case(lambda x: x.reshape(new), [draw(normal(shape))])


@st.composite
def transposed(draw) -> Case:
    shape = draw(shapes)
    order = draw(st.permutations(range(len(shape))))
    signed = tuple(axis - len(shape) * draw(st.booleans()) for axis in order)
    new = draw(st.sampled_from([None, signed]))
    return Case(lambda x: transpose(x, new), [draw(normal(shape))])


@st.composite
def indexed(draw) -> Case:
    """Slices, steps, ellipses, new axes; index arrays that name elements twice; masks; and a mixture."""
    shape = draw(st.lists(lengths, min_size=1, max_size=3).map(tuple))
    basic = hnp.basic_indices(shape, allow_newaxis=True)
    integers = hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2, max_side=4))
    masks = seeds.map(lambda seed: np.random.default_rng(seed).random(shape) < 0.5)
    repeated = seeds.map(lambda seed: (..., np.random.default_rng(seed).integers(0, shape[-1], 6)))
    index = draw(basic | integers | masks | repeated)
    return Case(lambda x: x[index], [draw(normal(shape))])


@st.composite
def joined(draw) -> Case:
    shape = draw(st.lists(lengths, min_size=1, max_size=3))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    inputs = []
    for _ in range(draw(st.integers(1, 3))):
        shape[axis] = draw(lengths)
        inputs.append(draw(normal(tuple(shape))))
    return Case(lambda *tensors: concatenate(tensors, axis), inputs)


@st.composite
def widened(draw) -> Case:
    found = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3))
    return Case(lambda x: broadcast_to(x, found.result_shape), [draw(normal(found.input_shapes[0]))])


CASES = {
    elementwise.Add: pairs(lambda x, y: x + y),
    elementwise.Subtract: pairs(lambda x, y: x - y),
    elementwise.Multiply: pairs(lambda x, y: x * y),
    elementwise.Divide: pairs(lambda x, y: x / y, second=positive),
    elementwise.Negative: single(lambda x: -x),
    elementwise.Power: powers(),
    elementwise.Exp: single(exp),
    elementwise.Log: single(log, positive),
    elementwise.Sqrt: single(sqrt, positive),
    elementwise.Tanh: single(tanh),
    elementwise.Erf: single(erf),
    elementwise.Maximum: maxima(),
    elementwise.Relu: single(relu, lambda shape: distinct(shape).map(lambda arrays: arrays[0] - 0.55)),
    elementwise.Where: choices(),
    reductions.Sum: reduced(sum),
    reductions.Mean: reduced(mean),
    reductions.Max: reduced(amax, lambda shape: distinct(shape).map(lambda arrays: arrays[0])),
    Matmul: matrix_products(),
    shape_ops.Reshape: reshaped(),
    shape_ops.Transpose: transposed(),
    shape_ops.GetItem: indexed(),
    shape_ops.Concatenate: joined(),
    shape_ops.BroadcastTo: widened(),
}
"""Function -> the cases at which its gradient is checked."""


@pytest.mark.parametrize("function", CASES, ids=lambda function: function.__name__)
@given(data=st.data())
def test_gradient(function, data):
    case = data.draw(CASES[function])
    output = case.function(*(Tensor(array, requires_grad=True) for array in case.inputs))
    assert function in functions_used(output), "this case does not reach the Function that it is for"
    gradcheck(case.function, case.inputs)


def test_every_function_is_checked():
    """A Function that is added without a case, here or among the kernels, is found out."""
    from test_convolution import CASES as MAP_CASES
    from test_gradients_kernels import CASES as KERNEL_CASES

    assert set(CASES) | set(MAP_CASES) | set(KERNEL_CASES) == all_functions()
    assert len(all_functions()) > 25  # the search itself works


@given(data=st.data())
def test_a_formula_of_many_operations(data):
    """Gradients that meet, split and broadcast within one graph."""
    rows, columns = data.draw(lengths), data.draw(lengths)
    x, y = data.draw(normal((rows, columns))), data.draw(normal((columns,)))

    def formula(x, y):
        z = x * y + tanh(x)
        z = concatenate([z, z.T.reshape(rows, columns)], axis=0)
        return (z @ y - z.sum(axis=1)) / (1 + exp(-z.max(axis=1))) + (x * x).sum()

    gradcheck(formula, [x, y])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_every_order_of_axes(order):
    """Most orders are their own inverse, so random ones could miss a transpose that is undone by itself."""
    gradcheck(lambda x: transpose(x, order), [np.random.default_rng(0).standard_normal((2, 3, 4))])
    gradcheck(lambda x: transpose(x, tuple(axis - 3 for axis in order)), [np.ones((2, 2, 2))])


def test_ties_share_the_gradient():
    x = Tensor(np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]), requires_grad=True)
    (dx,) = gradients(x.max(axis=1), [x], np.array([1.0, 3.0]))
    np.testing.assert_allclose(dx, [[0, 0.5, 0.5], [1, 1, 1]])
    y = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    dy, dz = gradients(maximum(y, z := Tensor(np.array([1.0, 0.0]), requires_grad=True)).sum(), [y, z])
    np.testing.assert_allclose([dy, dz], [[0.5, 1], [0.5, 0]])


def test_the_power_zero_is_flat_even_at_zero():
    x = Tensor(np.array([0.0, 1.0]), requires_grad=True)
    np.testing.assert_array_equal(gradients((x**0).sum(), [x])[0], [0, 0])


def test_float32_stays_float32():
    x = Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    y = exp(x * 2 + 1) / 3 - x**2 + sqrt(x) * np.float64(2) + x ** np.float64(1.5) + erf(x) + where(x.data > 0, x, 0.0)
    y = maximum(y, 0.0).mean(axis=1) + x[:, [0, 0]].sum(axis=1)
    assert y.dtype == np.float32
    assert gradients(y.sum(), [x])[0].dtype == np.float32
