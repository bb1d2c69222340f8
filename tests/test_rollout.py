"""Attention rollout."""

import numpy as np
import pytest
from small_models import batch, model

from tinyvit.analysis import rollout


def attention(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Random attention weights: rows of positive numbers that sum to 1."""
    weights = random.uniform(0.1, 1, shape)
    return weights / weights.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("class_token, tokens", [(True, 10), (False, 9)])
def test_shares_of_all_patches_sum_to_one(class_token, tokens):
    shares = rollout(attention(np.random.default_rng(0), 3, 2, 4, tokens, tokens), class_token)
    assert shares.shape == (2, 3, 3)
    assert (shares > 0).all()
    np.testing.assert_allclose(shares.sum(axis=(1, 2)), 1)


def test_two_layers_by_hand():
    """A class token and four patches. The first layer moves patch 1 to patch 2; in the second the class token looks at
    patch 2 only. With the residual connection, half stays where it is."""
    first, second = np.eye(5), np.eye(5)
    first[2] = [0, 1, 0, 0, 0]
    second[0] = [0, 0, 1, 0, 0]
    # The class token's row: half itself, half patch 2, which is half patch 2 and half patch 1.
    shares = rollout(np.stack([first, second])[:, None, None], class_token=True)
    np.testing.assert_allclose(shares, [[[0.5, 0.5], [0, 0]]])


def test_the_first_layer_is_the_nearest_to_the_patches():
    """The same layers in the other order: the class token has looked before anything moved."""
    first, second = np.eye(5), np.eye(5)
    first[0] = [0, 0, 1, 0, 0]
    second[2] = [0, 1, 0, 0, 0]
    shares = rollout(np.stack([first, second])[:, None, None], class_token=True)
    np.testing.assert_allclose(shares, [[[0, 1], [0, 0]]])


def test_patches_that_look_at_themselves_count_the_same():
    """Mean pooling, identity attention: no patch reaches the output more than another."""
    shares = rollout(np.broadcast_to(np.eye(4), (3, 1, 2, 4, 4)), class_token=False)
    np.testing.assert_allclose(shares, [[[0.25, 0.25], [0.25, 0.25]]])


def test_mean_pooling_averages_what_all_patches_see():
    looks = np.zeros((1, 1, 1, 4, 4))
    looks[..., 3] = 1  # everybody looks at the last patch; half stays with itself
    np.testing.assert_allclose(rollout(looks, class_token=False), [[[0.125, 0.125], [0.125, 0.625]]])


def test_heads_are_averaged():
    random = np.random.default_rng(1)
    maps = attention(random, 2, 1, 3, 5, 5)
    np.testing.assert_allclose(rollout(maps, True), rollout(maps.mean(axis=2, keepdims=True), True))


@pytest.mark.parametrize("pool", ["class_token", "mean"])
def test_a_model_gives_attention_that_can_be_rolled_out(pool):
    images, _ = batch(3)
    maps = model(pool=pool).attention_maps(images)
    np.testing.assert_allclose(maps.sum(axis=-1), 1, rtol=1e-5)
    shares = rollout(maps, pool == "class_token")
    assert shares.shape == (3, 2, 2)
    np.testing.assert_allclose(shares.sum(axis=(1, 2)), 1, rtol=1e-5)
