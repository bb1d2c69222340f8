"""The hand-written kernels: gradients against finite differences, and each fused kernel against its oracle, the same
thing composed of elementary operations in float64."""

import numpy as np
import pytest
from cases import Case, functions_in, functions_used, lengths, normal, seeds, shapes
from hypothesis import given
from hypothesis import strategies as st

from tinyvit import kernels
from tinyvit.autograd import (
    Tensor,
    add_layer_norm,
    attention,
    dropout,
    erf,
    exp,
    gelu,
    gradcheck,
    gradients,
    layer_norm,
    layers,
    linear,
    log,
    mlp,
    no_grad,
    sigmoid_cross_entropy,
    softmax,
    softmax_cross_entropy,
    sqrt,
    tanh,
)
from tinyvit.kernels.cpu import blocks

forms = st.sampled_from(["tanh", "exact"])


def distributions(random: np.random.Generator, batch: int, classes: int) -> np.ndarray:
    """Rows that are positive and sum to 1, as label smoothing and MixUp make them."""
    weights = random.random((batch, classes)) + 0.01
    return weights / weights.sum(axis=1, keepdims=True)


# Gradients against finite differences.


@st.composite
def linears(draw) -> Case:
    leading, inputs, outputs = draw(shapes), draw(lengths), draw(lengths)
    arrays = [draw(normal((*leading, inputs))), draw(normal((inputs, outputs))), draw(normal((outputs,)))]
    if draw(st.booleans()):
        return Case(linear, arrays)
    x = Tensor(arrays[0])  # images need no gradient; the kernel then leaves dx out
    return Case(lambda weight, bias: linear(x, weight, bias), arrays[1:])


@st.composite
def layer_norms(draw) -> Case:
    leading, width = draw(shapes), draw(st.sampled_from([1, 2, 3, 5, 8]))
    eps = draw(st.sampled_from([1e-6, 1e-12, 0.1]))
    random = np.random.default_rng(draw(seeds))
    # Numbers that lie apart: where all of a row are alike, 1 / std has a peak too sharp for finite differences.
    x = random.permuted(np.broadcast_to(np.arange(width) * 0.5, (*leading, width)), axis=-1)
    x = x + random.uniform(-0.1, 0.1, x.shape)
    if width == 1:
        eps = 0.1  # and here even 1 / sqrt(eps) is
    return Case(lambda *tensors: layer_norm(*tensors, eps), [x, draw(normal((width,))), draw(normal((width,)))])


@st.composite
def add_layer_norms(draw) -> Case:
    case = draw(layer_norms())
    x, gamma, beta = case.inputs
    branch = x * 0.5 if x.shape[-1] > 1 else x
    used = draw(st.sampled_from(["both", "sum", "norm"]))

    def function(x, branch, gamma, beta):
        z, y = add_layer_norm(x, branch, gamma, beta, 0.1)
        return z * 3 + y * y if used == "both" else z if used == "sum" else y

    return Case(function, [x, branch, gamma, beta])


@st.composite
def softmaxes(draw) -> Case:
    return Case(softmax, [draw(normal((*draw(shapes), draw(lengths))))])


@st.composite
def attentions(draw) -> Case:
    batch, tokens, heads, head_width = draw(lengths), draw(lengths), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    asking = draw(st.none() | st.integers(1, tokens))
    return Case(lambda qkv: attention(qkv, heads, asking), [draw(normal((batch, tokens, 3 * heads * head_width)))])


@st.composite
def gelus(draw) -> Case:
    form = draw(forms)
    return Case(lambda x: gelu(x, form), [2 * draw(normal(draw(shapes)))])


@st.composite
def mlps(draw) -> Case:
    leading, width, hidden, outputs, form = draw(shapes), draw(lengths), draw(lengths), draw(lengths), draw(forms)
    sizes = [(*leading, width), (width, hidden), (hidden,), (hidden, outputs), (outputs,)]
    return Case(lambda *tensors: mlp(*tensors, form), [draw(normal(size)) for size in sizes])


@st.composite
def dropouts(draw) -> Case:
    rate, seed = draw(st.sampled_from([0.0, 0.1, 0.5, 0.9])), draw(st.integers(0, 2**63 - 1))
    return Case(lambda x: dropout(x, rate, seed), [draw(normal(draw(shapes)))])


@st.composite
def softmax_losses(draw) -> Case:
    logits = draw(normal((draw(lengths), draw(lengths))))
    random = np.random.default_rng(draw(seeds))
    # Distributions, and also rows of any sum: those have a gradient too.
    targets = distributions(random, *logits.shape) if draw(st.booleans()) else random.random(logits.shape)
    return Case(lambda x: softmax_cross_entropy(x, targets), [logits])


@st.composite
def sigmoid_losses(draw) -> Case:
    logits = draw(normal((draw(lengths), draw(lengths))))
    logits = logits + 0.05 * np.sign(logits)  # max(x, 0) and |x| have a kink at 0, which only their sum has not
    targets = np.random.default_rng(draw(seeds)).random(logits.shape)
    return Case(lambda x: sigmoid_cross_entropy(x, targets), [logits])


CASES = {
    layers.Linear: linears(),
    layers.LayerNorm: layer_norms(),
    layers.AddLayerNorm: add_layer_norms(),
    layers.Softmax: softmaxes(),
    layers.Attention: attentions(),
    layers.Gelu: gelus(),
    layers.MLP: mlps(),
    layers.Dropout: dropouts(),
    layers.SoftmaxCrossEntropy: softmax_losses(),
    layers.SigmoidCrossEntropy: sigmoid_losses(),
}
"""Function -> the cases at which its gradient is checked."""


@pytest.mark.parametrize("function", functions_in(layers), ids=lambda function: function.__name__)
@given(data=st.data())
def test_gradient(function, data):
    case = data.draw(CASES[function])
    output = case.function(*(Tensor(array, requires_grad=True) for array in case.inputs))
    assert function in functions_used(output), "this case does not reach the Function that it is for"
    gradcheck(case.function, case.inputs)


# The oracles: each kernel once more, from operations that were checked one by one.


def composed_linear(x, weight, bias):
    return x @ weight + bias


def composed_layer_norm(x, gamma, beta, eps=1e-6):
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return centred / sqrt(variance + eps) * gamma + beta


def composed_add_layer_norm(x, branch, gamma, beta):
    z = x + branch
    return z * composed_layer_norm(z, gamma, beta)


def composed_softmax(x):
    e = exp(x)
    return e / e.sum(axis=-1, keepdims=True)


def composed_attention(qkv, heads=3):
    batch, tokens, width = qkv.shape
    head_width = width // (3 * heads)
    split = qkv.reshape(batch, tokens, 3, heads, head_width)
    query, key, value = (split[:, :, i].transpose(0, 2, 1, 3) for i in range(3))  # each (B, H, N, D/H)
    weights = composed_softmax(query @ key.transpose(0, 1, 3, 2) / head_width**0.5)
    return (weights @ value).transpose(0, 2, 1, 3).reshape(batch, tokens, heads * head_width)


def composed_gelu_tanh(x):
    return 0.5 * x * (1 + tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)))


def composed_gelu_exact(x):
    return 0.5 * x * (1 + erf(x / 2**0.5))


def composed_mlp_tanh(x, weight1, bias1, weight2, bias2):
    return composed_gelu_tanh(x @ weight1 + bias1) @ weight2 + bias2


def composed_mlp_exact(x, weight1, bias1, weight2, bias2):
    return composed_gelu_exact(x @ weight1 + bias1) @ weight2 + bias2


TARGETS = distributions(np.random.default_rng(5), 17, 11)


def composed_softmax_cross_entropy(logits):
    return -(log(composed_softmax(logits)) * TARGETS).sum() / len(logits)


def composed_sigmoid_cross_entropy(logits):
    positive, negative = 1 / (1 + exp(-logits)), 1 / (1 + exp(logits))
    return -(log(positive) * TARGETS + log(negative) * (1 - TARGETS)).sum() / len(logits)


KEPT = dropout(Tensor(np.ones((17, 11))), 0.3, 7).data


def composed_dropout(x):
    return x * KEPT.astype(x.dtype)


def fused_add_layer_norm(*tensors):
    z, y = add_layer_norm(*tensors, 1e-6)
    return z * y


MLP_SHAPES = [(7, 19, 12), (12, 48), (48,), (48, 12), (12,)]

# kernel, oracle, shapes of the inputs, float32's largest allowed error relative to the array's largest magnitude:
# a few roundings (6e-8) for what is computed element by element, more where rows or products are summed.
ORACLES = {
    "linear": (linear, composed_linear, [(5, 17, 24), (24, 9), (9,)], 1e-6),
    "layer_norm": (lambda *t: layer_norm(*t, 1e-6), composed_layer_norm, [(7, 19, 24), (24,), (24,)], 2e-6),
    "add_layer_norm": (
        fused_add_layer_norm,
        composed_add_layer_norm,
        [(7, 19, 24), (7, 19, 24), (24,), (24,)],
        2e-6,
    ),
    "softmax": (softmax, composed_softmax, [(7, 19, 24)], 1e-6),
    "attention": (lambda qkv: attention(qkv, 3), composed_attention, [(7, 19, 72)], 2e-6),
    "attention asking": (
        lambda qkv: attention(qkv, 3, asking=4),
        lambda qkv: composed_attention(qkv)[:, :4],
        [(7, 19, 72)],
        2e-6,
    ),
    "gelu tanh": (lambda x: gelu(x, "tanh"), composed_gelu_tanh, [(7, 19, 24)], 1e-6),
    "gelu exact": (lambda x: gelu(x, "exact"), composed_gelu_exact, [(7, 19, 24)], 1e-6),
    "mlp tanh": (lambda *t: mlp(*t, "tanh"), composed_mlp_tanh, MLP_SHAPES, 2e-6),
    "mlp exact": (lambda *t: mlp(*t, "exact"), composed_mlp_exact, MLP_SHAPES, 2e-6),
    "dropout": (lambda x: dropout(x, 0.3, 7), composed_dropout, [(17, 11)], 2e-7),
    "softmax_cross_entropy": (
        lambda x: softmax_cross_entropy(x, TARGETS),
        composed_softmax_cross_entropy,
        [(17, 11)],
        1e-6,
    ),
    "sigmoid_cross_entropy": (
        lambda x: sigmoid_cross_entropy(x, TARGETS),
        composed_sigmoid_cross_entropy,
        [(17, 11)],
        1e-6,
    ),
}


def value_and_gradients(function, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The result, then each input's gradient, for a random cotangent."""
    leaves = [Tensor(array, requires_grad=True) for array in arrays]
    output = function(*leaves)
    cotangent = np.random.default_rng(3).standard_normal(output.shape)
    return [output.data, *gradients(output, leaves, cotangent)]


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("small_blocks", [False, True], ids=["one block", "many blocks"])
@pytest.mark.parametrize("name", ORACLES)
def test_kernel_agrees_with_its_oracle(name, small_blocks, monkeypatch):
    """Value and gradients: in float64 to its rounding, in float32 to a few of its own."""
    kernel, oracle, sizes, tolerance = ORACLES[name]
    if small_blocks:  # cut into uneven blocks of rows, as only large batches are otherwise
        monkeypatch.setattr(blocks, "BLOCK_NUMBERS", 1500)
    random = np.random.default_rng(11)
    arrays = [random.standard_normal(size) / (size[0] ** 0.5 if len(size) == 2 else 1) for size in sizes]
    expected = value_and_gradients(oracle, arrays)
    for found, right in zip(value_and_gradients(kernel, arrays), expected, strict=True):
        assert found.shape == right.shape and found.dtype == np.float64
        assert relative_error(found, right) < 1e-13
    rounded = [array.astype(np.float32) for array in arrays]
    exact = value_and_gradients(oracle, [array.astype(np.float64) for array in rounded])
    for found, right in zip(value_and_gradients(kernel, rounded), exact, strict=True):
        assert found.shape == right.shape and found.dtype == np.float32
        assert relative_error(found, right) < tolerance


def test_every_kernel_with_a_backward_has_an_oracle():
    pairs = {
        name.removesuffix("_backward") for names in kernels.KERNELS.values() for name in names if "backward" in name
    }
    assert pairs == {name.split()[0] for name in ORACLES}


@given(rows=st.integers(0, 40), numbers=st.integers(1, 60), limit=st.integers(1, 100))
def test_blocks_cover_every_row_once(rows, numbers, limit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_NUMBERS", limit)
        found = list(blocks.row_blocks(rows, numbers))
    assert [i for block in found for i in range(rows)[block]] == list(range(rows))
    assert all((block.stop - block.start) * numbers < limit + numbers for block in found)


def test_nothing_recorded_gives_the_same_values():
    """Without a backward pass to come the kernels keep nothing and take other paths through memory."""
    for kernel, _, sizes, _ in ORACLES.values():
        arrays = [np.random.default_rng(2).standard_normal(size).astype(np.float32) for size in sizes]
        recorded = kernel(*(Tensor(array, requires_grad=True) for array in arrays))
        with no_grad():
            np.testing.assert_array_equal(kernel(*(Tensor(array) for array in arrays)).data, recorded.data)


def test_kernels_leave_their_inputs_alone():
    for kernel, _, sizes, _ in ORACLES.values():
        arrays = [np.random.default_rng(2).standard_normal(size) for size in sizes]
        copies = [array.copy() for array in arrays]
        value_and_gradients(kernel, arrays)
        for array, copy in zip(arrays, copies, strict=True):
            np.testing.assert_array_equal(array, copy)


# Numbers that overflow a careless formula.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_of_huge_numbers(dtype):
    y = softmax(Tensor(np.array([[1e4, 1e4, -1e4], [-1e30, 0, -np.inf], [1e38, -1e38, 0]], dtype))).data
    np.testing.assert_allclose(y, [[0.5, 0.5, 0], [0, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("loss", "expected", "slope"),
    [
        (softmax_cross_entropy, (2e4 + 0) / 2, [[0.5, -0.5, 0], [0, 0, 0]]),
        (sigmoid_cross_entropy, (2e4 + 0) / 2, [[0.5, -0.5, 0], [0, 0, 0]]),
    ],
)
def test_losses_of_huge_logits(loss, expected, slope, dtype):
    """A confident error costs what it should, and has a finite gradient; a confident right answer costs nothing."""
    logits = Tensor(np.array([[1e4, -1e4, -1e30], [-1e30, 1e4, -1e4]], dtype), requires_grad=True)
    targets = np.array([[0, 1, 0], [0, 1, 0]], dtype)
    value = loss(logits, targets)
    assert value.item() == expected
    np.testing.assert_array_equal(gradients(value, [logits])[0], slope)


def test_gelu_far_from_zero():
    for form in ("tanh", "exact"):
        x = Tensor(np.array([-1e4, -40, 40, 1e4], np.float32), requires_grad=True)
        y = gelu(x, form)
        np.testing.assert_array_equal(y.data, [0, 0, 40, 1e4])
        np.testing.assert_array_equal(gradients(y, [x], np.ones(4))[0], [0, 0, 1, 1])


def test_float32_erf_is_off_by_a_few_roundings_only():
    x = np.linspace(-6, 6, 200_001).astype(np.float32)
    assert np.abs(kernels.erf(x) - kernels.erf(x.astype(np.float64))).max() < 4e-7


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_of_one_number(dtype):
    x = Tensor(np.asarray(0.5, dtype), requires_grad=True)
    for function in (erf, lambda x: gelu(x, "tanh"), lambda x: gelu(x, "exact"), lambda x: dropout(x, 0.0, 1)):
        y = function(x)
        assert y.shape == () and y.dtype == dtype
        assert gradients(y, [x])[0].shape == ()


# Dropout.


def test_dropout_drops_the_same_in_both_directions():
    x = Tensor(np.ones((300, 40), np.float32), requires_grad=True)
    y = dropout(x, 0.25, seed=1)
    np.testing.assert_array_equal(gradients(y, [x], np.ones(y.shape))[0], y.data)


def test_dropout_rate_and_expectation():
    x = np.full((400, 500), 3.0, np.float32)
    for rate in (0.1, 0.5, 0.9):
        y = dropout(Tensor(x), rate, seed=2).data
        np.testing.assert_allclose(np.unique(y), [0, 3 / (1 - rate)], rtol=1e-6)
        # Four standard deviations of a mean of 200,000 independent draws.
        four_sigma = 4 * (rate * (1 - rate) / x.size) ** 0.5
        assert abs((y == 0).mean() - rate) < four_sigma
        assert abs(y.mean(dtype=np.float64) - 3) < 3 * four_sigma / (1 - rate)
    np.testing.assert_array_equal(dropout(Tensor(x), 0.0, seed=2).data, x)


def test_dropout_depends_on_the_seed_alone():
    x = Tensor(np.ones((50, 50), np.float32))
    first = dropout(x, 0.5, seed=3).data
    np.testing.assert_array_equal(dropout(x * 2, 0.5, seed=3).data, 2 * first)
    assert 0.4 < (dropout(x, 0.5, seed=4).data != first).mean() < 0.6
    np.testing.assert_array_equal(dropout(Tensor(x.data.astype(np.float64)), 0.5, seed=3).data, first)


# Bad input.


def test_bad_arguments_are_named():
    x = Tensor(np.ones((4, 6), np.float32))
    for rate in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match=f"dropout rate is {rate}.*at least 0 and less than 1"):
            dropout(x, rate, seed=0)
    with pytest.raises(ValueError, match="unknown GELU form 'fast': known are 'tanh' and 'exact'"):
        gelu(x, "fast")
    with pytest.raises(ValueError, match=r"4 heads needs .* a multiple of 12.* not \(1, 2, 18\)"):
        attention(Tensor(np.ones((1, 2, 18), np.float32)), heads=4)
    with pytest.raises(ValueError, match="attention with 2 heads"):
        attention(x, heads=2)
    for asking in (0, 3):
        with pytest.raises(ValueError, match=f"{asking} of 2 tokens"):
            attention(Tensor(np.ones((1, 2, 12), np.float32)), heads=2, asking=asking)


@pytest.mark.parametrize("loss", [softmax_cross_entropy, sigmoid_cross_entropy])
def test_targets_that_would_broadcast_are_refused(loss):
    logits = Tensor(np.zeros((3, 3), np.float32))
    for targets in (np.array([0, 1, 2]), np.ones((1, 3)), np.ones((3, 1)), np.float32(1)):
        with pytest.raises(ValueError, match=r"targets have shape .* logits \(3, 3\)"):
            loss(logits, targets)
    assert loss(logits, np.eye(3)).dtype == np.float32  # float64 and int targets take the logits' type
    assert loss(logits, np.eye(3, dtype=int)).item() == loss(logits, np.eye(3)).item()
