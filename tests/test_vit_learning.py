"""How a ViT starts out, and that it learns."""

import threading

import numpy as np
import pytest
from vits import OPTIONS, SMALL, images, name_of, randomised, small, targets

from tinyvit import Tensor, no_grad
from tinyvit.autograd import dropout, gradients, softmax_cross_entropy
from tinyvit.kernels import adamw_step, sgd_step
from tinyvit.models import ViT, ViTConfig
from tinyvit.nn import StochasticDepth, training_mode


def test_a_seed_makes_a_model():
    one, same, other = ViT(SMALL, seed=1), ViT(SMALL, seed=1), ViT(SMALL, seed=2)
    for a, b in zip(one.parameters(), same.parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)
    assert (one.position.embedding.data != other.position.embedding.data).all()
    assert all(parameter.dtype == np.float32 for parameter in one.parameters())


def test_initial_values():
    config = ViTConfig.named("tiny", image_size=32, patch_size=8, depth=2, classes=10, representation=150)
    model = ViT(config)
    values = {name: parameter.data for name, parameter in model.named_parameters()}
    checked = set()

    def check(name: str, test) -> None:
        for key in [key for key in values if key.endswith(name)]:
            assert test(values[key]), key
            checked.add(key)

    def uniform(limit: float):
        return lambda v: 0.99 * limit < np.abs(v).max() <= limit and abs(v.std() / (limit / 3**0.5) - 1) < 0.02

    def normal(std: float, rel: float = 0.05):
        return lambda v: abs(v.std() / std - 1) < rel and abs(v.mean()) < 4 * std / v.size**0.5

    def lecun(inputs: int):  # cut off at two standard deviations of the distribution before it was cut
        limit = 2 * inputs**-0.5 / 0.8796
        return lambda v: normal(inputs**-0.5, 0.03)(v) and 0.98 * limit < np.abs(v).max() <= 1.001 * limit

    def zero(v):
        return (v == 0).all()

    check("qkv.weight", uniform((6 / (192 + 192)) ** 0.5))  # the limit of each of three square matrices
    check("out.weight", uniform((6 / (192 + 192)) ** 0.5))
    check("linear1.weight", uniform((6 / (192 + 768)) ** 0.5))
    check("linear2.weight", uniform((6 / (192 + 768)) ** 0.5))
    check("linear1.bias", normal(1e-6, 0.2))
    check("linear2.bias", normal(1e-6, 0.2))
    check("position.embedding", normal(0.02))
    check("patch_embedding.projection.weight", lecun(8 * 8 * 3))
    check("representation.weight", lecun(192))
    check("gamma", lambda v: (v == 1).all())
    for name in ("beta", "class_token", "head.weight", "qkv.bias", "out.bias", "projection.bias"):
        check(name, zero)
    check("head.bias", zero)
    check("representation.bias", zero)
    assert checked == set(values)
    np.testing.assert_array_equal(model(images(config)).data, 0)  # so every class is equally likely at the start


# Training.


def train(model: ViT, steps: int, update, config: ViTConfig, seed: int = 0) -> list[float]:
    random, losses = np.random.default_rng(seed), []
    for step in range(1, steps + 1):
        with training_mode(random):
            loss = softmax_cross_entropy(model(images(config)), targets(config))
        losses.append(loss.item())
        for parameter, gradient in zip(model.parameters(), gradients(loss, model.parameters()), strict=True):
            update(parameter, gradient.reshape(-1), step)
    return losses


@pytest.mark.parametrize("changes", OPTIONS, ids=name_of)
def test_every_option_trains_every_parameter(changes):
    """Of the untouched model only the head has a gradient, being zero; from the second step on all have."""
    config = small(**changes)
    model = ViT(config)
    before = {name: parameter.data.copy() for name, parameter in model.named_parameters()}

    def update(parameter, gradient, step):
        sgd_step(
            parameter.data.reshape(-1),
            gradient,
            np.zeros_like(gradient),
            learning_rate=0.1,
            momentum=0.0,
            weight_decay=0.0,
        )

    losses = train(model, 1, update, config)
    assert losses[0] == pytest.approx(np.log(config.classes))
    for name, parameter in model.named_parameters():
        assert (parameter.data != before[name]).any() == name.startswith("head"), name
    train(model, 2, update, config, seed=1)
    for name, parameter in model.named_parameters():
        assert np.isfinite(parameter.data).all()
        assert (parameter.data != before[name]).any(), name
    after = softmax_cross_entropy(model(images(config)), targets(config)).item()
    assert after < losses[0]


def test_one_batch_is_learned_by_heart():
    """Nothing in the way from the loss to any parameter can be wrong where this ends at zero."""
    config = small(depth=2)
    model = ViT(config)
    state = {id(p): (np.zeros(p.size, np.float32), np.zeros(p.size, np.float32)) for p in model.parameters()}

    def update(parameter, gradient, step):
        mean, variance = state[id(parameter)]
        adamw_step(
            parameter.data.reshape(-1),
            gradient,
            mean,
            variance,
            step=step,
            learning_rate=1e-2,
            beta1=0.9,
            beta2=0.999,
            eps=1e-8,
            weight_decay=0.0,
        )

    losses = train(model, 300, update, config)
    assert losses[0] == pytest.approx(np.log(5))
    assert losses[-1] < 1e-3


def test_dropout_and_stochastic_depth_act_in_training_only():
    plain, dropping = randomised(SMALL), randomised(small(dropout=0.3))
    shallow = randomised(small(stochastic_depth=0.5))
    expected = plain(images()).data
    for model in (dropping, shallow):
        np.testing.assert_array_equal(model(images()).data, expected)
        with training_mode(np.random.default_rng(0)):
            first = model(images()).data
        with training_mode(np.random.default_rng(0)):
            np.testing.assert_array_equal(model(images()).data, first)
        with training_mode(np.random.default_rng(1)):
            assert (model(images()).data != first).any()
        assert (first != expected).any()
        np.testing.assert_array_equal(model(images()).data, expected)
    with training_mode(np.random.default_rng(0)):
        np.testing.assert_array_equal(plain(images()).data, expected)


@pytest.mark.parametrize("pool", ["class_token", "mean"])
def test_leaving_out_what_the_pool_does_not_read_changes_nothing(pool):
    model = randomised(small(pool=pool))
    parameters = model.parameters()
    cotangent = np.random.default_rng(0).standard_normal((len(images()), model.config.classes))
    short = model(images())
    whole = model.head(model.pool(model.encode(images())))
    np.testing.assert_allclose(short.data, whole.data, rtol=1e-5, atol=1e-6)
    for found, expected in zip(
        gradients(short, parameters, cotangent), gradients(whole, parameters, cotangent), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_dropout_stands_where_the_paper_has_it(monkeypatch):
    """After the position embedding, the attention's projection and both layers of the MLP; each mask differs."""
    calls = []

    def recorded(x, rate, seed):
        calls.append((x.shape[1:], rate, seed))
        return dropout(x, rate, seed)

    monkeypatch.setattr("tinyvit.nn.dropout.dropout", recorded)
    model = ViT(small(depth=1, dropout=0.2))
    with training_mode(np.random.default_rng(0)):
        model.features(images())
    tokens, width, mlp_width = 10, 24, 40
    assert [shape for shape, _, _ in calls] == [(tokens, width), (tokens, width), (tokens, mlp_width), (tokens, width)]
    assert {rate for _, rate, _ in calls} == {0.2}
    assert len({seed for _, _, seed in calls}) == 4


def test_training_mode_is_for_its_own_thread():
    model = randomised(small(dropout=0.3))
    expected, found = model(images()).data, []
    with training_mode(np.random.default_rng(0)):
        thread = threading.Thread(target=lambda: found.append(model(images()).data))
        thread.start()
        thread.join()
    np.testing.assert_array_equal(found[0], expected)


def test_stochastic_depth_grows_with_depth():
    model = ViT(small(depth=5, stochastic_depth=0.4))
    assert [block.stochastic_depth.rate for block in model.blocks] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_stochastic_depth_leaves_out_whole_images():
    x = Tensor(np.ones((4000, 3, 2), np.float32))
    with training_mode(np.random.default_rng(0)):
        y = StochasticDepth(0.25)(x).data
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1, :1], y.shape))
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.75], rtol=1e-6)
    assert abs(y.mean() - 1) < 4 * (0.25 / 0.75 / 4000) ** 0.5


def test_looking_inside_records_nothing():
    model = randomised(SMALL)
    maps = model.attention_maps(images())
    assert isinstance(maps, np.ndarray)
    with no_grad():
        assert not model(images()).requires_grad
