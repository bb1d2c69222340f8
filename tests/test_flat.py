"""All parameters in one array."""

import numpy as np
import pytest
from small_models import CONFIG, batch, model

from tinyvit.models import ViT
from tinyvit.training.flat import ALIGNMENT, FlatParameters


@pytest.fixture
def flat() -> FlatParameters:
    return FlatParameters(model())


def test_values_stay_and_become_views():
    made = model()
    before = {name: parameter.data.copy() for name, parameter in made.named_parameters()}
    flat = FlatParameters(made)
    for name, parameter in made.named_parameters():
        np.testing.assert_array_equal(parameter.data, before[name])
        assert np.shares_memory(parameter.data, flat.data)
    assert {name: view.shape for name, view in flat.views(flat.data).items()} == {
        name: array.shape for name, array in before.items()
    }


def test_a_change_of_the_array_is_a_change_of_the_model(flat):
    flat.data += 1
    for view, parameter in zip(flat.views(flat.data).values(), flat.parameters, strict=True):
        np.testing.assert_array_equal(view, parameter.data)


def test_exactly_the_matrices_decay():
    flat = FlatParameters(ViT(CONFIG))
    marked = flat.zeros()
    marked[: flat.decay_end] = 1
    decaying = {name for name, view in flat.views(marked).items() if view.all()}
    assert decaying == {name for name, view in flat.views(marked).items() if view.any()}, "a parameter is cut in two"
    expected = {"patch_embedding.projection.weight", "head.weight"} | {
        f"blocks.{block}.{layer}.weight"
        for block in range(CONFIG.depth)
        for layer in ("attention.qkv", "attention.out", "mlp.linear1", "mlp.linear2")
    }
    assert decaying == expected


def test_each_parameter_starts_at_a_cache_line_and_none_overlaps(flat):
    numbers = np.arange(flat.data.size, dtype=np.float32)
    seen = [view.reshape(-1) for view in flat.views(numbers).values()]
    assert all(view[0] % ALIGNMENT == 0 for view in seen)
    joined = np.concatenate(seen)
    assert len(np.unique(joined)) == len(joined) == sum(parameter.size for parameter in flat.parameters)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_parts_cover_everything_once_and_never_mix(flat, count):
    seen = np.zeros(flat.data.size, int)
    for part, decays in flat.parts(count):
        seen[part] += 1
        assert decays == (part.stop <= flat.decay_end) or part.start == part.stop
    assert (seen == 1).all()


def test_gather_puts_each_array_in_its_place(flat):
    arrays = [np.full(parameter.shape, index, np.float32) for index, parameter in enumerate(flat.parameters)]
    gathered = flat.gather(arrays, out=flat.zeros())
    for index, view in enumerate(flat.views(gathered).values()):
        assert (view == index).all()


def test_replaced_by_computes_with_others_and_restores():
    made = model()
    flat = FlatParameters(made)
    images, _ = batch()
    before = made(images).data
    other = FlatParameters(model(seed=1))
    with flat.replaced_by(other.data):
        np.testing.assert_array_equal(made(images).data, model(seed=1)(images).data)
    np.testing.assert_array_equal(made(images).data, before)
    with pytest.raises(KeyError), flat.replaced_by(other.data):
        raise KeyError
    np.testing.assert_array_equal(made(images).data, before)
