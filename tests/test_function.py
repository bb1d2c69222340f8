"""Function and the backward walk: where gradients go, what they never do, and when the graph is gone."""

import gc
import threading
import weakref
from typing import ClassVar

import numpy as np
import pytest

from tinyvit import Tensor, no_grad
from tinyvit.autograd import Function, concatenate, exp, gradients, layer_norm, linear, mlp, softmax_cross_entropy


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values, float), requires_grad=True)


def test_gradients_returns_and_backward_stores():
    x, y = leaf(1, 2), leaf(3, 4)
    dx, dy = gradients((x * y).sum(), [x, y])
    np.testing.assert_array_equal(dx, [3, 4])
    np.testing.assert_array_equal(dy, [1, 2])
    assert x.grad is None and y.grad is None
    (x * y).sum().backward()
    np.testing.assert_array_equal(x.grad, dx)
    np.testing.assert_array_equal(y.grad, dy)


def test_only_leaves_keep_a_gradient_and_it_accumulates():
    x = leaf(1, 2)
    y = x * 3
    z = y.sum()
    z.backward()
    assert y.grad is None and z.grad is None
    first = x.grad
    (x * x).sum().backward()
    np.testing.assert_array_equal(x.grad, [3 + 2, 3 + 4])
    np.testing.assert_array_equal(first, [3, 3])  # the sum is a new array


def test_what_the_output_does_not_depend_on_gets_zeros():
    x, y = leaf(1, 2), leaf(5)
    dy, dx = gradients(x.sum(), [y, x])
    np.testing.assert_array_equal(dy, [0])
    np.testing.assert_array_equal(dx, [1, 1])


def test_only_leaves_can_be_asked_for():
    x = leaf(1, 2)
    y = x * 2
    with pytest.raises(ValueError, match=r"input 1, of shape \(2,\), is no leaf that requires a gradient"):
        gradients(y.sum(), [x, y])
    with pytest.raises(ValueError, match="input 0"):
        gradients(y.sum(), [Tensor([1.0])])
    np.testing.assert_array_equal(gradients(y.sum(), [x])[0], [2, 2])  # a refusal leaves the graph as it was


def test_cotangents():
    x = leaf(1, 2)
    np.testing.assert_array_equal(gradients(x * 3, [x], [10, 100])[0], [30, 300])
    np.testing.assert_array_equal(gradients((x * 3).sum(), [x], 2)[0], [6, 6])
    assert gradients((x * 3)[:1], [x])[0].tolist() == [3, 0]  # one element has a default, whatever its shape
    with pytest.raises(ValueError, match=r"a cotangent is needed for an output of shape \(2,\)"):
        gradients(x * 3, [x])
    with pytest.raises(ValueError, match=r"the cotangent has shape \(3,\), the output \(2,\)"):
        gradients(x * 3, [x], np.ones(3))


def test_a_leaf_is_its_own_gradient():
    x = leaf(4)
    np.testing.assert_array_equal(gradients(x, [x])[0], [1])


def test_one_array_arriving_twice_is_not_added_to_itself_in_place():
    """Addition hands the same array to both of its inputs; adding to one in place would change the other."""
    x, y = leaf(1, 2), leaf(3, 4)
    for output, expected in (
        (x + x, [[2, 2], [0, 0]]),
        (x + x + x + y, [[3, 3], [1, 1]]),
        ((x + y) + x, [[2, 2], [1, 1]]),
        (concatenate([x, x])[1:3], [[1, 1], [0, 0]]),
        (x.reshape(1, 2) + x + y, [[2, 2], [1, 1]]),
        ((x + y) + (y + x) * 2, [[3, 3], [3, 3]]),
    ):
        np.testing.assert_array_equal(gradients(output, [x, y], np.ones(output.shape)), expected)


def test_the_given_cotangent_and_the_data_are_never_changed():
    x, y = leaf(1, 2), leaf(3, 4)
    z = x + y
    cotangent = np.array([1.0, 10.0])
    (z * z + z - x / y).backward(cotangent)
    (x + y).backward(cotangent)
    (x + x).backward(cotangent)
    np.testing.assert_array_equal(cotangent, [1, 10])
    np.testing.assert_array_equal(x.data, [1, 2])
    np.testing.assert_array_equal(y.data, [3, 4])


@pytest.mark.parametrize("again", ["same output", "another output"])
def test_a_freed_graph_says_so(again):
    x = leaf(1, 2)
    y = exp(x)
    z = y.sum()
    other = (y * 2).sum()
    z.backward()
    with pytest.raises(RuntimeError, match="already freed by a backward pass: run the forward computation again"):
        (z if again == "same output" else other).backward()
    np.testing.assert_array_equal(x.grad, np.exp([1, 2]))  # and has changed nothing


def test_nothing_to_differentiate_says_so():
    for output in (Tensor([1.0]) * 2, Tensor(1.0)):
        with pytest.raises(RuntimeError, match="nothing to differentiate"):
            output.backward()


def test_a_graph_ten_thousand_deep():
    x = leaf(1.0)
    y = x
    for _ in range(10_000):
        y = y + x * 1e-4
    np.testing.assert_allclose(gradients(y, [x])[0], [2], rtol=1e-9)
    for _ in range(10_000):  # one that is dropped without a backward pass
        y = -y
    del y


def test_a_graph_with_exponentially_many_paths():
    """Each tensor is visited once, not once a path: here 2^60 of them."""
    x = leaf(1.0)
    y = x
    for _ in range(60):
        y = (y + y) * 0.5
    assert gradients(y, [x])[0] == 1


class Watched(Function):
    """Twice x; notes what is alive while it runs backward."""

    saved_alive: list[int]
    saved: list[weakref.ref]

    def forward(self, x):
        kept = np.full(3, 2.0)
        self.kept = kept
        Watched.saved.append(weakref.ref(kept))
        return x * 2

    def backward(self, dout):
        gc.collect()
        Watched.saved_alive.append(sum(reference() is not None for reference in Watched.saved))
        return (dout * 2,)


def test_the_graph_is_freed_during_the_walk():
    """When a node is reached, what the nodes behind it had saved is gone already, and so are their results."""
    Watched.saved_alive, Watched.saved = [], []
    x = leaf(1)
    results = []
    y = x
    for _ in range(5):
        y = Watched()(y)
        results.append(weakref.ref(y))
    y.backward()
    assert Watched.saved_alive == [5, 4, 3, 2, 1]
    assert [reference() is not None for reference in results] == [False] * 4 + [True]  # we hold the last ourselves
    assert x.grad == 32


def test_no_cycle_keeps_a_graph_alive():
    gc.disable()
    try:
        x = leaf(1, 2)
        y = exp(x * 2)
        reference = weakref.ref(y)
        del y
        assert reference() is None
    finally:
        gc.enable()


def test_no_grad_records_nothing():
    x = leaf(1, 2)
    with no_grad():
        y = x * 2
        with no_grad():
            pass
        z = x * 3
    assert not y.requires_grad and y.creator is None
    assert not z.requires_grad
    assert (x * 2).requires_grad
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert (x * 2).requires_grad  # an error within ends it too


def test_constants_are_not_recorded():
    assert (Tensor([1.0]) * 2).creator is None


def test_no_grad_is_for_its_own_thread():
    x = leaf(1, 2)
    recorded = []
    with no_grad():
        thread = threading.Thread(target=lambda: recorded.append((x * 2).requires_grad))
        thread.start()
        thread.join()
        assert not (x * 2).requires_grad
    assert recorded == [True]


def test_threads_over_shared_parameters_give_what_one_thread_gives():
    random = np.random.default_rng(0)
    sizes = [(16, 32), (32,), (32, 16), (16,), (16,), (16,)]
    parameters = [Tensor(random.standard_normal(size).astype(np.float32), requires_grad=True) for size in sizes]
    batches = [random.standard_normal((24, 16)).astype(np.float32) for _ in range(4)]

    def work(batch: np.ndarray) -> list[np.ndarray]:
        weight1, bias1, weight2, bias2, gamma, beta = parameters
        y = Tensor(batch)
        for _ in range(10):
            y = layer_norm(y + mlp(y, weight1, bias1, weight2, bias2, "tanh"), gamma, beta, 1e-6)
        y = linear(y, weight1, bias1)
        return gradients(softmax_cross_entropy(y, np.eye(32)[:24]), parameters)

    alone = [work(batch) for batch in batches]
    together: dict[int, list] = {}

    def several_times(i: int) -> None:
        together[i] = [work(batches[i]) for _ in range(5)]

    threads = [threading.Thread(target=several_times, args=(i,)) for i in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, expected in enumerate(alone):
        for found in together[i]:
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_array_equal(a, b)
    assert all(parameter.grad is None for parameter in parameters)


# What a Function written by a reader may get wrong.


class Broken(Function):
    """x + y, with the gradients that it is told to give."""

    broadcasts = True

    def __init__(self, gradients):
        self.gradients = gradients

    def forward(self, x, y):
        return x + y

    def backward(self, dout):
        return self.gradients(dout)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda d: (d[:1], d), r"Broken\.backward gave a gradient of shape \(1, 3\).* for an input of shape \(2, 3\)"),
        (lambda d: (d.T, d), r"gradient of shape \(3, 2\)"),
        (lambda d: (d, d.reshape(6)), r"gradient of shape \(6,\)"),
        (lambda d: (np.ones((4, 5)), d), r"gradient of shape \(4, 5\)"),
        (lambda d: (d.astype(np.float32), d), r"Broken\.backward gave a gradient .* type float32 .* type float64"),
        (lambda d: (d,), r"Broken\.backward gave 1 gradients: it must give a tuple of 2"),
        (lambda d: (d, d, d), r"Broken\.backward gave 3 gradients: it must give a tuple of 2"),
        (lambda d: d, r"Broken\.backward gave ndarray: it must give a tuple of 2"),
        (lambda d: None, r"Broken\.backward gave NoneType: it must give a tuple of 2"),
        (lambda d: (d, None), r"Broken\.backward gave no gradient for an input that requires one"),
    ],
)
def test_a_wrong_backward_is_refused_by_name(wrong, message):
    x, y = (Tensor(np.ones((2, 3)), requires_grad=True) for _ in range(2))
    with pytest.raises(RuntimeError, match=message):
        gradients(Broken(wrong)(x, y), [x, y], np.ones((2, 3)))


def test_a_gradient_nobody_needs_may_be_left_out():
    x = leaf(1, 2)
    np.testing.assert_array_equal(gradients(Broken(lambda d: (d, None))(x, Tensor([1.0, 2.0])).sum(), [x])[0], [1, 1])


def test_mixing_types_is_found_out_with_a_hint():
    x = Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"Multiply.* type float64 .* type float32; was it mixed.*astype"):
        (x * np.ones(2)).sum().backward()


def test_an_instance_serves_once():
    """It keeps what its backward needs, so a second use would mix up two results."""
    x = leaf(1, 2)
    function = Broken(lambda d: (d, d))
    y = function(x, x)
    with pytest.raises(RuntimeError, match="this Broken was used before: each use needs an instance of its own"):
        function(y, y)


class SumAndProduct(Function):
    """Two results: x + y and x * y."""

    def forward(self, x, y):
        self.x, self.y = x, y
        return x + y, x * y

    def backward(self, dsum, dproduct):
        self.log.append((dsum is not None, dproduct is not None))
        dsum = 0 * self.x if dsum is None else dsum
        dproduct = 0 * self.x if dproduct is None else dproduct
        return dsum + dproduct * self.y, dsum + dproduct * self.x

    log: ClassVar[list] = []


@pytest.mark.parametrize("used", [(True, True), (True, False), (False, True)])
def test_a_function_with_two_results(used):
    x, y = leaf(2, 3), leaf(5, 7)
    SumAndProduct.log.clear()
    total, product = SumAndProduct()(x, y)
    np.testing.assert_array_equal(total.data, [7, 10])
    np.testing.assert_array_equal(product.data, [10, 21])
    ends = [part for part, wanted in ((total * 10, used[0]), (product * 100, used[1])) if wanted]
    dx, dy = gradients(concatenate(ends).sum(), [x, y])
    np.testing.assert_array_equal(dx, 10 * used[0] + 100 * used[1] * y.data)
    np.testing.assert_array_equal(dy, 10 * used[0] + 100 * used[1] * x.data)
    assert SumAndProduct.log == [used]  # once, with None for what nothing depends on


def test_two_results_share_one_graph():
    x, y = leaf(2), leaf(5)
    total, product = SumAndProduct()(x, y)
    gradients(product, [x])
    with pytest.raises(RuntimeError, match="this graph was already freed by a backward pass"):
        gradients(total, [x])
    with no_grad():
        total, product = SumAndProduct()(x, y)
    assert total.creator is None and not product.requires_grad


def test_one_of_two_results_may_be_used_twice():
    x, y = leaf(2), leaf(5)
    total, _ = SumAndProduct()(x, y)
    (total * total + total).backward()
    np.testing.assert_array_equal(x.grad, [2 * 7 + 1])
