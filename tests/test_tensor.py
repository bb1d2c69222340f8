"""Tensor: what can be made one, its operators, and how it prints."""

import numpy as np
import pytest

from tinyvit import Tensor
from tinyvit.autograd import concatenate, gradients, where


def test_python_numbers_become_float32():
    for data in (1.5, [1.0, 2.0], [[np.float64(1)]], (0.5,)):
        assert Tensor(data).dtype == np.float32
    assert Tensor([1, 2]).dtype == np.int64
    assert Tensor(np.float64(1.5)).dtype == np.float64  # NumPy's numbers and arrays keep the type they have
    array = np.zeros(3)
    assert Tensor(array).data is array


def test_only_floating_point_can_require_a_gradient():
    for data in ([1, 2], [True], np.zeros(3, np.uint8)):
        with pytest.raises(TypeError, match="only floating-point tensors can require a gradient, not "):
            Tensor(data, requires_grad=True)
    assert Tensor(np.zeros(2, np.float16), requires_grad=True).requires_grad


@pytest.mark.parametrize("other", [2, 2.5, np.float64(2.5), np.int64(2), np.array([3.0, 4, 5], np.float32), "tensor"])
@pytest.mark.parametrize(
    "operate",
    [
        lambda x, y: x + y,
        lambda x, y: x - y,
        lambda x, y: x * y,
        lambda x, y: x / y,
    ],
)
def test_operators_take_numbers_and_arrays_on_either_side(operate, other):
    values = np.array([[1, 2, 4], [-1, 8, 0.5]], np.float32)
    plain = other
    if isinstance(other, str):
        plain = np.array([3.0, 4, 5], np.float32)
        other = Tensor(plain)
    x = Tensor(values, requires_grad=True)
    for left, right, expected in ((x, other, operate(values, plain)), (other, x, operate(plain, values))):
        found = operate(left, right)
        assert isinstance(found, Tensor) and found.dtype == np.float32 and found.requires_grad
        np.testing.assert_allclose(found.data, expected, rtol=1e-6)


def test_matrix_products_take_arrays_on_either_side():
    x, a = Tensor(np.arange(6, dtype=np.float32).reshape(2, 3)), np.ones((3, 2), np.float32)
    np.testing.assert_array_equal((x @ a).data, x.data @ a)
    np.testing.assert_array_equal((a @ x).data, a @ x.data)
    np.testing.assert_array_equal((x @ np.ones(3, np.float32)).data, [3, 12])
    for y in (np.ones((2, 2)), np.float32(2), 1.0):
        with pytest.raises(ValueError, match=r"matmul needs \(\.\.\., M, K\) and \(\.\.\., K, N\), not \(2, 3\) and "):
            x @ y


def test_a_fraction_is_not_cut_to_an_integer():
    np.testing.assert_array_equal((Tensor([1, 2, 3]) * 0.5).data, [0.5, 1, 1.5])
    np.testing.assert_array_equal((1.5 - Tensor([1, 2])).data, [0.5, -0.5])


def test_methods_agree_with_numpy():
    array = np.random.default_rng(0).uniform(0.5, 2, (2, 3, 4))
    x = Tensor(array)
    for name in ("sum", "mean", "max"):
        for kwargs in ({}, {"axis": 1}, {"axis": (0, -1)}, {"axis": -1, "keepdims": True}):
            np.testing.assert_allclose(getattr(x, name)(**kwargs).data, getattr(array, name)(**kwargs))
    for name in ("exp", "log", "sqrt", "tanh"):
        np.testing.assert_array_equal(getattr(x, name)().data, getattr(np, name)(array))
    np.testing.assert_array_equal((-(x**2)).data, -(array**2))
    np.testing.assert_array_equal(x.T.data, array.T)
    for axes in ((2, 0, 1), (-1, 0, 1)):
        np.testing.assert_array_equal(x.transpose(*axes).data, array.transpose(axes))
        np.testing.assert_array_equal(x.transpose(axes).data, array.transpose(axes))
    np.testing.assert_array_equal(x.reshape(4, -1).data, array.reshape(4, -1))
    np.testing.assert_array_equal(x.reshape((6, 4)).data, array.reshape(6, 4))
    np.testing.assert_array_equal(x[0, ::2, [1, 1]].data, array[0, ::2, [1, 1]])
    assert (x.shape, x.ndim, x.size, x.dtype, len(x)) == ((2, 3, 4), 3, 24, np.float64, 2)
    assert x[0, 0, 0].item() == array[0, 0, 0]
    assert [row.shape for row in x] == [(3, 4), (3, 4)]


def test_impossible_arguments_are_refused():
    x = Tensor(np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match="axis 3 is out of bounds"):
        x.transpose(0, 3)
    with pytest.raises(TypeError, match=r"the exponent must be a number, not Tensor; .*exp\(y \* log\(x\)\)"):
        x**x
    with pytest.raises(TypeError, match="where needs a boolean condition, not float32"):
        where(x, x, x)
    with pytest.raises(ValueError, match="at least one tensor"):
        concatenate([])


def test_a_tensor_is_not_silently_cut_off_the_graph():
    x = Tensor([1.0, 2.0], requires_grad=True)
    for misuse in (lambda: np.asarray(x), lambda: Tensor(x), lambda: x.data[Tensor([0])]):
        with pytest.raises(TypeError, match=r"take its \.data|does not support ufuncs"):
            misuse()
    assert not x.detach().requires_grad and x.detach().data is x.data


def test_truth_is_that_of_the_number():
    assert Tensor(1.0) and not Tensor(0.0)
    with pytest.raises(ValueError, match="ambiguous"):
        bool(Tensor([1.0, 2.0]))


def test_repr_shows_small_values_and_large_shapes():
    x = Tensor([1.0, 2.5], requires_grad=True)
    assert repr(x) == "Tensor([1. , 2.5], float32, requires_grad)"
    assert repr(x * 2) == "Tensor([2., 5.], float32, creator=Multiply, requires_grad)"
    assert repr(Tensor([1, 2])) == "Tensor([1, 2], int64)"
    assert repr(Tensor(np.zeros((20, 30)))) == "Tensor((20, 30), float64)"


def test_a_zero_dimensional_gradient_is_an_array():
    x = Tensor(3.0, requires_grad=True)
    (dx,) = gradients(x * x, [x])
    assert isinstance(dx, np.ndarray) and dx.shape == () and dx == 6
