"""The Vision Transformer: its sizes, its options, what its config refuses, how it starts out, and that it learns."""

import dataclasses
import threading
import tracemalloc

import numpy as np
import pytest

from tinyvit import Tensor, no_grad
from tinyvit.autograd import dropout, gradients, softmax_cross_entropy
from tinyvit.errors import InputError
from tinyvit.kernels import adamw_step, sgd_step
from tinyvit.models import SIZES, ViT, ViTConfig, cost
from tinyvit.nn import StochasticDepth, initial, training_mode

SMALL = ViTConfig(image_size=12, patch_size=4, channels=2, width=24, depth=3, heads=2, mlp_width=40, classes=5)
OPTIONS = [
    {},
    {"pool": "mean"},
    {"position_embedding": "learned_2d"},
    {"position_embedding": "learned_2d", "pool": "mean"},
    {"position_embedding": "sinusoidal"},
    {"position_embedding": "none"},
    {"representation": 7},
    {"gelu": "exact"},
    {"norm_eps": 1e-12},
    {"dropout": 0.2},
    {"stochastic_depth": 0.4},
    {"dropout": 0.1, "stochastic_depth": 0.2, "pool": "mean", "representation": 7, "patch_size": 3},
    {"heads": 1},
    {"depth": 1, "stochastic_depth": 0.3},
    {"patch_size": 12},
]


def small(**changes) -> ViTConfig:
    return dataclasses.replace(SMALL, **changes)


def images(config: ViTConfig = SMALL, count: int = 6) -> np.ndarray:
    random = np.random.default_rng(4)
    size = (count, config.image_size, config.image_size, config.channels)
    return random.uniform(-1, 1, size).astype(np.float32)


def targets(config: ViTConfig = SMALL, count: int = 6) -> np.ndarray:
    return np.eye(config.classes, dtype=np.float32)[np.arange(count) % config.classes]


def randomised(config: ViTConfig) -> ViT:
    """A model in which no parameter is zero, as after training."""
    model = ViT(config)
    random = np.random.default_rng(9)
    for parameter in model.parameters():
        parameter.data = (parameter.data + 0.1 * random.standard_normal(parameter.shape)).astype(np.float32)
    return model


def name_of(changes: dict) -> str:
    return ", ".join(f"{field} {value}" for field, value in changes.items()) or "as in the paper"


# Sizes: Dosovitskiy et al., 2020, Table 1 and the published checkpoints, with 1000 classes and images of 224 pixels.

PUBLISHED = [
    ("tiny", 16, 5_717_416),
    ("small", 16, 22_050_664),
    ("base", 16, 86_567_656),
    ("base", 32, 88_224_232),
    ("large", 16, 304_326_632),
    ("large", 32, 306_535_400),
    ("huge", 14, 632_045_800),
    ({"width": 1408, "depth": 40, "heads": 16, "mlp_width": 6144}, 14, 1_012_611_432),  # g/14
    ({"width": 1664, "depth": 48, "heads": 16, "mlp_width": 8192}, 14, 1_844_440_680),  # G/14
]


@pytest.mark.parametrize(("size", "patch_size", "parameters"), PUBLISHED)
def test_parameter_counts_match_the_published_ones(size, patch_size, parameters):
    config = (
        ViTConfig.named(size, patch_size=patch_size)
        if isinstance(size, str)
        else ViTConfig(patch_size=patch_size, **size)
    )
    assert cost(config).parameters == parameters


def test_counting_takes_no_memory():
    tracemalloc.start()
    cost(ViTConfig.named("huge", patch_size=14))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20 * 4  # its weights would take 2.5 GB


@pytest.mark.parametrize("changes", OPTIONS, ids=name_of)
def test_the_count_is_that_of_a_real_model(changes):
    config = small(**changes)
    model = ViT(config)
    total = sum(parameter.data.size for parameter in model.parameters())
    assert all(parameter.data.flags.owndata or parameter.data.base is not None for parameter in model.parameters())
    assert cost(config).parameters == model.num_parameters == total


def test_the_count_of_an_allocated_named_size():
    config = ViTConfig.named("tiny")
    parameters = ViT(config).parameters()
    assert sum(parameter.data.nbytes for parameter in parameters) == 4 * cost(config).parameters


@pytest.mark.parametrize(("size", "billions"), [("tiny", 1.26), ("small", 4.61), ("base", 17.58)])
def test_multiply_adds_match_the_published_ones(size, billions):
    assert cost(ViTConfig.named(size)).multiply_adds / 1e9 == pytest.approx(billions, rel=0.01)


@pytest.mark.parametrize("changes", [{}, {"pool": "mean"}, {"patch_size": 2, "heads": 4}], ids=name_of)
def test_the_memory_estimate_is_what_the_graph_holds(changes):
    config = small(image_size=24, width=64, mlp_width=128, **changes)
    model, batch = ViT(config), images(config, 16)
    tracemalloc.start()
    logits = model(batch)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert logits.requires_grad
    assert cost(config).activations * 4 * len(batch) == pytest.approx(held, rel=0.03)


def test_shapes_only_does_not_last():
    with initial.shapes_only():
        with initial.shapes_only():
            pass
        assert ViT(SMALL).norm.gamma.data.strides == (0,)
    assert ViT(SMALL).norm.gamma.data.strides == (4,)


# The config.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 0}, "image_size is 0: it must be at least 1"),
        ({"patch_size": -4}, "patch_size is -4: it must be at least 1"),
        ({"channels": 0}, "channels is 0: it must be at least 1"),
        ({"width": 0}, "width is 0: it must be at least 1"),
        ({"depth": 0}, "depth is 0: it must be at least 1"),
        ({"heads": 0}, "heads is 0: it must be at least 1"),
        ({"mlp_width": 0}, "mlp_width is 0: it must be at least 1"),
        ({"classes": -1}, "classes is -1: it must be at least 0"),
        ({"representation": -1}, "representation is -1: it must be at least 0"),
        ({"dropout": 1.0}, "dropout is 1.0: it must be at least 0 and less than 1"),
        ({"dropout": float("nan")}, "dropout is nan: it must be at least 0 and less than 1"),
        ({"stochastic_depth": -0.1}, "stochastic_depth is -0.1: it must be at least 0 and less than 1"),
        ({"norm_eps": 0.0}, "norm_eps is 0.0: it must be more than 0"),
        ({"pool": "zz"}, "unknown pool 'zz': known are class_token, mean"),
        ({"pool": "means"}, "unknown pool 'means': did you mean 'mean'? known are class_token, mean"),
        ({"gelu": None}, "unknown gelu None: known are tanh, exact"),
        (
            {"position_embedding": "sinusodial"},
            "unknown position embedding 'sinusodial': did you mean 'sinusoidal'? "
            "known are learned, learned_2d, sinusoidal, none",
        ),
        ({"patch_size": 5}, "patch size 5 does not divide image size 12: choose one of 1, 2, 3, 4, 6, 12"),
        ({"heads": 5}, "5 heads do not divide width 24: choose one of 1, 2, 3, 4, 6, 8, 12, 24 heads"),
        (
            {"width": 9, "heads": 3, "position_embedding": "learned_2d"},
            "width 9 is odd: a 2-D position embedding needs an even one",
        ),
        (
            {"width": 6, "position_embedding": "sinusoidal"},
            "width 6 is no multiple of 4: a sinusoidal position embedding needs one",
        ),
    ],
)
def test_a_bad_config_says_what_and_what_to_do(changes, message):
    with pytest.raises(InputError) as caught:
        small(**changes)
    assert str(caught.value) == message
    assert "\n" not in message


def test_named_sizes():
    assert set(SIZES) == {"nano", "tiny", "small", "base", "large", "huge"}
    config = ViTConfig.named("base", image_size=384, patch_size=32, width=384)
    assert (config.width, config.depth, config.heads, config.mlp_width, config.tokens) == (384, 12, 12, 3072, 145)
    with pytest.raises(InputError, match=r"^unknown size 'Tinny': did you mean 'tiny'\? known are nano, tiny, "):
        ViTConfig.named("Tinny")


def test_a_config_read_back_is_the_same():
    assert ViTConfig.from_dict(dataclasses.asdict(SMALL)) == SMALL
    assert ViTConfig.from_dict({"dropout": 0}).dropout == 0  # JSON writes 0.0 as 0 where it can
    for values, message in (
        ({"widht": 3}, "unknown model field 'widht': did you mean 'width'?"),
        ({"width": "64"}, "model field width is '64': it must be of type int"),
        ({"width": 64.0}, "model field width is 64.0: it must be of type int"),
        ({"heads": True}, "model field heads is True: it must be of type int"),
        ({"pool": 3}, "model field pool is 3: it must be of type str"),
        ({"heads": 7}, "7 heads do not divide width 768"),
    ):
        with pytest.raises(InputError) as caught:
            ViTConfig.from_dict(values)
        assert str(caught.value).startswith(message)


# What goes in and comes out.


@pytest.mark.parametrize("changes", OPTIONS, ids=name_of)
def test_shapes(changes):
    config = small(**changes)
    model, batch = randomised(config), images(config)
    tokens, count = config.tokens, len(batch)
    assert tokens == (config.image_size // config.patch_size) ** 2 + (config.pool == "class_token")
    assert model(batch).shape == (count, config.classes)
    assert model.features(batch).shape == (count, tokens, config.width)
    maps = model.attention_maps(batch)
    assert maps.shape == (config.depth, count, config.heads, tokens, tokens)
    assert (maps >= 0).all()
    np.testing.assert_allclose(maps.sum(axis=-1), 1, rtol=1e-5)
    headless = randomised(dataclasses.replace(config, classes=0))
    assert headless(batch).shape == (count, config.representation or config.width)
    assert headless.head is None


def test_logits_are_the_head_of_the_pooled_features():
    for pool in ("class_token", "mean"):
        model = randomised(small(pool=pool))
        features = model.features(images())
        pooled = features[:, 0] if pool == "class_token" else features.mean(axis=1)
        np.testing.assert_allclose(model(images()).data, model.head(pooled).data, rtol=1e-4, atol=1e-5)


def test_the_representation_is_a_hidden_layer_with_tanh():
    config = small(representation=7)
    with_head, without = randomised(config), randomised(dataclasses.replace(config, classes=0))
    for (_, parameter), (_, source) in zip(without.named_parameters(), with_head.named_parameters(), strict=False):
        parameter.data = source.data
    hidden = without(images())
    assert (np.abs(hidden.data) < 1).all()
    np.testing.assert_allclose(with_head(images()).data, with_head.head(hidden).data, rtol=1e-5)


def test_images_of_the_wrong_kind_are_refused():
    model = ViT(SMALL)
    for shape in ((12, 12, 2), (3, 12, 12, 3), (3, 2, 12, 12), (3, 24, 24, 2), (3, 12, 12)):
        with pytest.raises(ValueError) as caught:
            model(np.zeros(shape, np.float32))
        assert str(caught.value) == f"images have shape {shape}: this model takes (batch, 12, 12, 2)"
    for dtype in (np.uint8, np.float64):
        with pytest.raises(
            TypeError, match=rf"images are {np.dtype(dtype)}: this model takes float32, scaled to \[-1, 1\]"
        ):
            model(np.zeros((3, 12, 12, 2), dtype))
    np.testing.assert_array_equal(model(Tensor(images())).data, model(images()).data)


def test_a_patch_is_flattened_by_row_column_channel():
    model = ViT(SMALL)
    batch = images()
    tokens = model.patch_embedding(Tensor(batch)).data
    weight = model.patch_embedding.projection.weight.data
    np.testing.assert_allclose(tokens[2, 5], batch[2, 4:8, 8:12, :].reshape(-1) @ weight, rtol=1e-4, atol=1e-6)


def test_images_do_not_look_at_each_other():
    model, batch = randomised(SMALL), images()
    np.testing.assert_allclose(model(batch).data[2:3], model(batch[2:3]).data, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("position", "sees_order"), [("none", False), ("learned", True), ("learned_2d", True), ("sinusoidal", True)]
)
def test_only_the_position_embedding_tells_patches_apart(position, sees_order):
    """Without one a ViT sees a bag of patches: moving them changes nothing."""
    model = randomised(small(position_embedding=position))
    batch = images()
    moved = np.roll(batch, 4, axis=2)  # every patch one place to the right
    same = np.allclose(model(batch).data, model(moved).data, rtol=1e-4, atol=1e-5)
    assert same == (not sees_order)


def test_a_mean_pool_has_no_class_token():
    names = [name for name, _ in ViT(small(pool="mean")).named_parameters()]
    assert not any("class_token" in name for name in names)
    assert ViT(small(pool="mean")).features(images()).shape[1] == 9
    names = [name for name, _ in ViT(small(pool="mean", position_embedding="learned_2d")).named_parameters()]
    assert not any("class_token" in name for name in names)


def test_2d_positions_join_a_row_and_a_column():
    model = randomised(small(position_embedding="learned_2d"))
    embedding, position = model.position().data, model.position
    assert embedding.shape == (1, 10, 24)
    np.testing.assert_array_equal(embedding[0, 0], position.class_token.data[0, 0])
    row, column = 1, 2
    np.testing.assert_array_equal(embedding[0, 1 + 3 * row + column, :12], position.rows.data[row, 0])
    np.testing.assert_array_equal(embedding[0, 1 + 3 * row + column, 12:], position.columns.data[0, column])


def test_sinusoidal_positions_are_fixed():
    model = ViT(small(position_embedding="sinusoidal"))
    assert not any("position" in name for name, _ in model.named_parameters())
    embedding = model.position().data[0]
    np.testing.assert_array_equal(embedding[0], 0)  # the class token stands nowhere
    row, column, frequencies = 2, 1, 10_000.0 ** -(np.arange(6) / 5)
    expected = [f(place * frequencies) for place in (row, column) for f in (np.sin, np.cos)]
    np.testing.assert_allclose(embedding[1 + 3 * row + column], np.concatenate(expected), rtol=1e-6)
    assert len(np.unique(embedding.round(6), axis=0)) == 10


def test_parameter_names():
    names = [name for name, _ in ViT(small(depth=1, representation=7)).named_parameters()]
    assert names == [
        "patch_embedding.projection.weight",
        "patch_embedding.projection.bias",
        "class_token",
        "position.embedding",
        "blocks.0.norm1.gamma",
        "blocks.0.norm1.beta",
        "blocks.0.attention.qkv.weight",
        "blocks.0.attention.qkv.bias",
        "blocks.0.attention.out.weight",
        "blocks.0.attention.out.bias",
        "blocks.0.norm2.gamma",
        "blocks.0.norm2.beta",
        "blocks.0.mlp.linear1.weight",
        "blocks.0.mlp.linear1.bias",
        "blocks.0.mlp.linear2.weight",
        "blocks.0.mlp.linear2.bias",
        "norm.gamma",
        "norm.beta",
        "representation.weight",
        "representation.bias",
        "head.weight",
        "head.bias",
    ]


# Initial values, those of the official code.


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
