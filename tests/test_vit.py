"""The Vision Transformer: what goes in and what comes out, with every option."""

import dataclasses

import numpy as np
import pytest
from vits import OPTIONS, SMALL, images, name_of, randomised, small

from tinyvit import Tensor
from tinyvit.models import ViT


@pytest.mark.parametrize("changes", OPTIONS, ids=name_of)
def test_shapes(changes):
    config = small(**changes)
    model, batch = randomised(config), images(config)
    tokens, count = config.tokens, len(batch)
    extra = (config.pool == "class_token") + config.distillation + config.registers
    assert tokens == (config.image_size // config.patch_size) ** 2 + extra
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
            TypeError,
            match=rf"^images are {np.dtype(dtype)}: this model takes float32, as config.preprocessing.prepare",
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
