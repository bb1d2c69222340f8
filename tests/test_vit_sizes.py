"""The sizes: parameters, multiply-adds and memory, counted without allocating."""

import tracemalloc

import pytest
from vits import OPTIONS, SMALL, images, name_of, small

from tinyvit.models import ViT, ViTConfig, cost
from tinyvit.nn import initial

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
