"""What slides over feature maps: convolution, max pool, relu and group norm, against finite differences and against
plain loops that say what each of them means."""

import itertools
import math

import numpy as np
import pytest
from cases import Case, distinct, functions_used, layouts, lengths, normal, seeds
from hypothesis import given
from hypothesis import strategies as st

from tinyvit.autograd import Tensor, convolution, gradcheck, gradients, group_norm, max_pool
from tinyvit.autograd.convolution import Convolution, MaxPool
from tinyvit.autograd.group_norm import GroupNorm
from tinyvit.nn import GroupNorm as GroupNormLayer
from tinyvit.nn import StandardisedConvolution

sizes = st.integers(1, 3)
strides = st.integers(1, 3)
sides = st.integers(1, 6)


@st.composite
def convolutions(draw) -> Case:
    """Even and odd windows, larger than the map too, with every stride."""
    x = draw(normal((draw(st.sampled_from([1, 2])), draw(sides), draw(sides), draw(st.sampled_from([1, 2])))))
    kernel = draw(normal((draw(sizes), draw(sizes), x.shape[3], draw(st.sampled_from([1, 3])))))
    stride = draw(strides)
    if draw(st.booleans()):
        images = Tensor(x)  # images need no gradient, and dx is then left out
        return Case(lambda kernel: convolution(images, kernel, stride), [kernel])
    return Case(lambda x, kernel: convolution(x, kernel, stride), [x, kernel])


@st.composite
def max_pools(draw) -> Case:
    (x,) = draw(distinct((draw(st.sampled_from([1, 2])), draw(sides), draw(sides), 2)))
    size, stride = draw(sizes), draw(strides)
    return Case(lambda x: max_pool(x - 1.0, size, stride), [x])  # some below zero, which padding must not hide


@st.composite
def group_norms(draw) -> Case:
    groups = draw(sizes)
    shape = (draw(lengths), draw(sizes), draw(sizes), groups * draw(sizes))
    random = np.random.default_rng(draw(seeds))
    x = draw(layouts(random.permutation(math.prod(shape)).reshape(shape) * 0.3))
    # Where all of a group are alike, 1 / std has a peak too sharp for finite differences.
    eps = draw(st.sampled_from([1e-5, 0.1])) if math.prod(shape[1:]) > groups else 0.1
    return Case(
        lambda *tensors: group_norm(*tensors, groups, eps), [x, draw(normal(shape[3:])), draw(normal(shape[3:]))]
    )


CASES = {Convolution: convolutions(), MaxPool: max_pools(), GroupNorm: group_norms()}
"""Function -> the cases at which its gradient is checked."""


@pytest.mark.parametrize("function", CASES, ids=lambda function: function.__name__)
@given(data=st.data())
def test_gradient(function, data):
    case = data.draw(CASES[function])
    output = case.function(*(Tensor(array, requires_grad=True) for array in case.inputs))
    assert function in functions_used(output), "this case does not reach the Function that it is for"
    gradcheck(case.function, case.inputs)


def windows(x: np.ndarray, size: tuple[int, int], stride: int):
    """Every window of x (B, H, W, C) that "SAME" padding gives, by the definition of TensorFlow: its place in the
    output, and the part of it that lies within x as (first row in the window, first column, (B, rows, columns, C))."""
    starts = []
    for length, window in zip(x.shape[1:3], size, strict=True):
        out = math.ceil(length / stride)
        before = max((out - 1) * stride + window - length, 0) // 2
        starts.append([i * stride - before for i in range(out)])
    for (row, top), (column, left) in itertools.product(*map(enumerate, starts)):
        inside = x[:, max(top, 0) : max(top + size[0], 0), max(left, 0) : max(left + size[1], 0)]
        yield row, column, max(-top, 0), max(-left, 0), inside


@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 4), st.integers(1, 4), strides, seeds)
def test_the_same_as_a_loop_over_windows(height, width, rows, columns, stride, seed):
    random = np.random.default_rng(seed)
    x, kernel = random.standard_normal((2, height, width, 3)), random.standard_normal((rows, columns, 3, 4))
    out = convolution(Tensor(x), Tensor(kernel), stride).data
    assert out.shape == (2, math.ceil(height / stride), math.ceil(width / stride), 4)
    for row, column, top, left, inside in windows(x, (rows, columns), stride):
        part = kernel[top : top + inside.shape[1], left : left + inside.shape[2]]
        np.testing.assert_allclose(out[:, row, column], np.einsum("bijc,ijcd->bd", inside, part), atol=1e-12)
    x -= 10
    pooled = max_pool(Tensor(x), rows, stride).data
    for row, column, _, _, inside in windows(x, (rows, rows), stride):
        np.testing.assert_array_equal(pooled[:, row, column], inside.max(axis=(1, 2)))


def test_of_equal_numbers_the_first_gets_the_gradient():
    x = Tensor(np.zeros((1, 2, 2, 1), np.float32), requires_grad=True)
    (dx,) = gradients(max_pool(x, 2, 2).sum(), [x])
    np.testing.assert_array_equal(dx[0, :, :, 0], [[1, 0], [0, 0]])


def test_group_norm_by_its_definition():
    random = np.random.default_rng(0)
    x, gamma, beta = random.standard_normal((3, 4, 5, 6)), random.standard_normal(6), random.standard_normal(6)
    out = group_norm(Tensor(x), Tensor(gamma), Tensor(beta), 2, 0.1).data
    for image, group in itertools.product(range(3), (slice(0, 3), slice(3, 6))):
        part = x[image, :, :, group]
        expected = (part - part.mean()) / np.sqrt(part.var() + 0.1) * gamma[group] + beta[group]
        np.testing.assert_allclose(out[image, :, :, group], expected, rtol=1e-10)


@pytest.mark.parametrize("convention", ["official", "timm"])
def test_weights_are_standardised_for_each_output(convention):
    """For the layer, only the direction of each output's weights counts, and not what they have in common."""
    layer = StandardisedConvolution(3, 2, 2, 4, convention=convention, random=np.random.default_rng(0))
    weight = layer.weight.data.astype(np.float64)
    layer.weight.data = weight
    std = weight.std(axis=0)
    below = std + 1e-5 if convention == "official" else np.sqrt(weight.var(axis=0) + 1e-8)
    kernel = ((weight - weight.mean(axis=0)) / below).reshape(3, 3, 2, 4)
    x = np.random.default_rng(1).standard_normal((2, 5, 6, 2))
    np.testing.assert_allclose(layer(Tensor(x)).data, convolution(Tensor(x), Tensor(kernel), 2).data, rtol=1e-10)

    def applied(x, weight):
        layer.weight = weight
        return layer(x)

    gradcheck(applied, [x, weight])


def test_the_layers_start_as_they_should():
    norm = GroupNormLayer(64, 1e-6, gamma=0.0)
    assert [(name, parameter.data.tolist()) for name, parameter in norm.named_parameters()] == [
        ("gamma", [0.0] * 64),
        ("beta", [0.0] * 64),
    ]
    layer = StandardisedConvolution(7, 2, 3, 64, convention="timm", random=np.random.default_rng(0))
    assert [(name, parameter.shape) for name, parameter in layer.named_parameters()] == [("weight", (147, 64))]
    assert layer.weight.data.std() == pytest.approx(147**-0.5, rel=0.05)


def test_bad_shapes_are_refused():
    x = Tensor(np.zeros((1, 4, 4, 3), np.float32))
    for kernel in ((3, 3, 2, 5), (3, 3, 3)):
        with pytest.raises(ValueError) as caught:
            convolution(x, Tensor(np.zeros(kernel, np.float32)))
        expected = f"convolution needs (B, H, W, C) and (rows, columns, C, D), not (1, 4, 4, 3) and {kernel}"
        assert str(caught.value) == expected
    with pytest.raises(ValueError, match=r"^max_pool needs \(B, H, W, C\), not \(4, 4\)$"):
        max_pool(Tensor(np.zeros((4, 4), np.float32)), 2, 2)
    with pytest.raises(ValueError, match=r"^2 groups do not divide 3 channels$"):
        group_norm(x, Tensor(np.ones(3, np.float32)), Tensor(np.ones(3, np.float32)), 2, 1e-6)


def test_no_images_and_float32():
    empty = Tensor(np.zeros((0, 5, 5, 2), np.float32))
    kernel = Tensor(np.ones((3, 3, 2, 4), np.float32), requires_grad=True)
    gamma = Tensor(np.ones(4, np.float32), requires_grad=True)
    out = group_norm(max_pool(convolution(empty, kernel, 2), 3, 2), gamma, gamma, 2, 1e-6)
    assert out.shape == (0, 2, 2, 4) and out.dtype == np.float32
    assert all(not gradient.any() for gradient in gradients(out.sum(), [kernel, gamma]))
