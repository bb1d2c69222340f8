"""gradcheck catches wrong backward passes, each kind, in every operation and kernel, and says where."""

import numpy as np
import pytest
from cases import all_functions

from tinyvit import autograd, kernels
from tinyvit.autograd import Function, GradientError, Tensor, elementwise, gradcheck, gradients, layers, reductions
from tinyvit.autograd import shapes as shape_ops
from tinyvit.autograd.convolution import Convolution, MaxPool
from tinyvit.autograd.group_norm import GroupNorm
from tinyvit.autograd.matmul import Matmul

S = (3, 3)  # square, so that a transposed gradient has the right shape and only its entries are wrong
MASK = np.array([[True, False, True], [False, True, True], [True, True, False]])
TARGETS = np.array([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25], [0.3, 0.3, 0.4]])


def _sum_times_norm(*tensors):
    z, y = autograd.add_layer_norm(*tensors, 1e-6)
    return z * y


EXAMPLES = {
    elementwise.Add: (lambda x, y: x + y, [S, S]),
    elementwise.Subtract: (lambda x, y: x - y, [S, S]),
    elementwise.Multiply: (lambda x, y: x * y, [S, S]),
    elementwise.Divide: (lambda x, y: x / y, [S, S]),
    elementwise.Negative: (lambda x: -x, [S]),
    elementwise.Power: (lambda x: x**2, [S]),
    elementwise.Exp: (autograd.exp, [S]),
    elementwise.Log: (autograd.log, [S]),
    elementwise.Sqrt: (autograd.sqrt, [S]),
    elementwise.Tanh: (autograd.tanh, [S]),
    elementwise.Erf: (autograd.erf, [S]),
    elementwise.Maximum: (autograd.maximum, [S, S]),
    elementwise.Relu: (lambda x: autograd.relu(x - 1.0), [S]),
    elementwise.Where: (lambda x, y: autograd.where(MASK, x, y), [S, S]),
    reductions.Sum: (lambda x: x.sum(axis=0), [S]),
    reductions.Mean: (lambda x: x.mean(axis=0), [S]),
    reductions.Max: (lambda x: x.max(axis=0), [S]),
    Matmul: (lambda x, y: x @ y, [S, S]),
    shape_ops.Reshape: (lambda x: x.reshape(9), [S]),
    shape_ops.Transpose: (lambda x: x.T, [S]),
    shape_ops.GetItem: (lambda x: x[:, [0, 0, 1]], [S]),
    shape_ops.Concatenate: (lambda x, y: autograd.concatenate([x, y]), [S, S]),
    shape_ops.BroadcastTo: (lambda x: autograd.broadcast_to(x, (2, 3, 3)), [S]),
    Convolution: (lambda *t: autograd.convolution(*t), [(1, 3, 2, 2), (3, 3, 2, 2)]),
    MaxPool: (lambda x: autograd.max_pool(x, 2, 1), [(1, 3, 3, 3)]),
    GroupNorm: (lambda *t: autograd.group_norm(*t, 1, 1e-6), [(1, 3, 3, 3), (3,), (3,)]),
    layers.Linear: (autograd.linear, [S, S, (3,)]),
    layers.LayerNorm: (lambda *t: autograd.layer_norm(*t, 1e-6), [S, (3,), (3,)]),
    layers.AddLayerNorm: (_sum_times_norm, [S, S, (3,), (3,)]),
    layers.Softmax: (autograd.softmax, [S]),
    layers.Attention: (lambda x: autograd.attention(x, 2), [(1, 6, 6)]),
    layers.Gelu: (lambda x: autograd.gelu(x, "tanh"), [S]),
    layers.MLP: (lambda *t: autograd.mlp(*t, "exact"), [S, S, (3,), S, (3,)]),
    layers.Dropout: (lambda x: autograd.dropout(x, 0.5, 1), [S]),
    layers.SoftmaxCrossEntropy: (lambda x: autograd.softmax_cross_entropy(x, TARGETS), [S]),
    layers.SigmoidCrossEntropy: (lambda x: autograd.sigmoid_cross_entropy(x, TARGETS), [S]),
}
"""Function -> a function of tensors that uses it, and their shapes."""

FAULTS = {
    "zeroed": lambda gradient: gradient * 0,
    "scaled": lambda gradient: gradient * 1.01,
    "sign flipped": lambda gradient: -gradient,
    "transposed": lambda gradient: gradient[::-1] if gradient.ndim == 1 else gradient.swapaxes(-1, -2),
}


def inputs_of(function: type[Function]) -> list[np.ndarray]:
    random = np.random.default_rng(8)
    return [random.uniform(0.5, 2, shape) for shape in EXAMPLES[function][1]]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("function", EXAMPLES, ids=lambda function: function.__name__)
def test_a_faulty_backward_is_caught(function, fault, monkeypatch):
    """The right one passes; with the gradient of one input spoilt it fails, and the error names that input."""
    formula, arrays = EXAMPLES[function][0], inputs_of(function)
    gradcheck(formula, arrays)
    right = function.backward
    for position in range(len(arrays)):

        def backward(self, *douts, position=position):
            parts = list(right(self, *douts))
            parts[position] = FAULTS[fault](parts[position])
            return tuple(parts)

        monkeypatch.setattr(function, "backward", backward)
        with pytest.raises(GradientError, match=f"input {position}: "):
            gradcheck(formula, arrays)


# Where a kernel's results are not the gradients of the inputs one by one: x and branch share theirs.
INPUT_OF_RESULT = {"add_layer_norm_backward": (0, 2, 3)}
KERNELS_BACKWARD = [name for names in kernels.KERNELS.values() for name in names if name.endswith("_backward")]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", KERNELS_BACKWARD)
def test_a_faulty_kernel_is_caught(name, fault, monkeypatch):
    """The same one level below: what the wrappers call is the kernel in the table."""
    wrapper = next(f for f in EXAMPLES if f.__module__ == layers.__name__ and name in f.backward.__code__.co_names)
    formula, arrays = EXAMPLES[wrapper][0], inputs_of(wrapper)
    right = getattr(kernels, name)
    for result, position in enumerate(INPUT_OF_RESULT.get(name, range(len(arrays)))):

        def kernel(*args, result=result, **kwargs):
            parts = right(*args, **kwargs)
            if not isinstance(parts, tuple):
                return FAULTS[fault](parts)
            return tuple(FAULTS[fault](part) if i == result else part for i, part in enumerate(parts))

        monkeypatch.setattr(kernels, name, kernel)
        with pytest.raises(GradientError, match=f"input {position}: "):
            gradcheck(formula, arrays)


def test_every_function_has_an_example():
    assert set(EXAMPLES) == all_functions()


def test_ones_would_not_find_a_wrong_softmax(monkeypatch):
    """A softmax's rows always sum to 1, so with a cotangent of ones the true gradient is zero, and so is what many
    wrong backward passes give. gradcheck's cotangent is random."""
    monkeypatch.setattr(layers.Softmax, "backward", lambda self, dout: (0.3 * (dout - dout.mean(-1, keepdims=True)),))
    x = Tensor(np.random.default_rng(0).standard_normal((2, 4)), requires_grad=True)
    (dx,) = gradients(autograd.softmax(x), [x], np.ones((2, 4)))
    np.testing.assert_allclose(dx, 0, atol=1e-15)  # right, by luck
    with pytest.raises(GradientError):
        gradcheck(autograd.softmax, [x.data])


def test_the_error_names_input_entry_and_difference(monkeypatch):
    def backward(self, dout):
        dy = dout * self.x
        dy[2, 1] += 0.5
        dy[0, 0] += 0.125
        return dout * self.y, dy

    monkeypatch.setattr(elementwise.Multiply, "backward", backward)
    x, y = np.random.default_rng(1).uniform(1, 2, (2, 3, 2))
    true = np.random.default_rng(0).standard_normal((3, 2))[2, 1] * x[2, 1]
    with pytest.raises(GradientError) as caught:
        gradcheck(lambda x, y: x * y, [x, y])
    message = str(caught.value)
    assert message.startswith("input 1: 2 of 6 gradient entries are wrong; the worst is entry (2, 1): backward says ")
    backward_says = float(message.split("backward says ")[1].split(",")[0])
    differences_say = float(message.split("differences say ")[1].split(" ")[0])
    assert backward_says == pytest.approx(true + 0.5, rel=1e-7)
    assert differences_say == pytest.approx(true, rel=1e-6)
    assert message.endswith("(off by 0.5)")


def test_a_nan_is_wrong(monkeypatch):
    monkeypatch.setattr(elementwise.Exp, "backward", lambda self, dout: (dout * np.nan,))
    with pytest.raises(GradientError, match="backward says nan"):
        gradcheck(autograd.exp, [np.ones(2)])


def test_a_dependence_that_is_not_in_the_graph_is_caught():
    with pytest.raises(GradientError, match="input 0"):
        gradcheck(lambda x: x * x.detach(), [np.array([1.0, 2.0])])


def test_only_float64_can_be_checked():
    with pytest.raises(TypeError, match="gradcheck needs float64 inputs, but input 1 is float32"):
        gradcheck(lambda x, y: x + y, [np.ones(2), np.ones(2, np.float32)])


def test_the_inputs_are_left_alone_and_may_be_any_view():
    x = np.arange(12.0).reshape(3, 4)
    before = x.copy()
    gradcheck(lambda x: autograd.tanh(x * 0.1).sum(axis=0), [x[::-1, ::2]])
    np.testing.assert_array_equal(x, before)
    gradcheck(lambda x: x * 2, [np.float64(3)])
    gradcheck(lambda x: x * 2, [np.zeros((0, 3))])
