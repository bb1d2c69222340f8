"""What makes a ViT one of the published ones: the distillation token, registers, LayerScale and the ResNet stem."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from vits import images, randomised, small

from tinyvit import Tensor, no_grad
from tinyvit.analysis import rollout
from tinyvit.autograd import convolution, gradients, group_norm, max_pool, relu
from tinyvit.models import ViT, ViTConfig, cost

HYBRID = small(stem="resnet", stem_depths=(1, 2), patch_size=16, image_size=32)


def shapes(model: ViT, *starts: str) -> dict[str, tuple[int, ...]]:
    return {name: parameter.shape for name, parameter in model.named_parameters() if name.startswith(starts)}


def test_names_and_shapes_of_the_parameters():
    model = ViT(small(distillation=True, registers=3, layer_scale=0.5, depth=1))
    assert shapes(model, "distillation", "registers", "head_dist", "position", "blocks.0.layer") == {
        "distillation_token": (1, 1, 24),
        "registers": (1, 3, 24),
        "position.embedding": (1, 11, 24),  # the registers have no position
        "blocks.0.layer_scale1.gain": (24,),
        "blocks.0.layer_scale2.gain": (24,),
        "head_distillation.weight": (24, 5),
        "head_distillation.bias": (5,),
    }
    assert (model.blocks[0].layer_scale1.gain.data == 0.5).all()
    assert 1e-7 < np.abs(model.registers.data).mean() < 1e-5


def test_names_and_shapes_of_the_stem():
    model = ViT(HYBRID)
    unit = {
        "convolution1.weight": (256, 128),
        "norm1.gamma": (128,),
        "norm1.beta": (128,),
        "convolution2.weight": (9 * 128, 128),
        "norm2.gamma": (128,),
        "norm2.beta": (128,),
        "convolution3.weight": (128, 512),
        "norm3.gamma": (512,),
        "norm3.beta": (512,),
    }
    projection = {"projection.weight": (256, 512), "projection_norm.gamma": (512,), "projection_norm.beta": (512,)}
    first, second = "stem.stages.1.units.0.", "stem.stages.1.units.1."
    assert shapes(model, "stem.root") == {
        "stem.root.weight": (7 * 7 * 2, 64),
        "stem.root_norm.gamma": (64,),
        "stem.root_norm.beta": (64,),
    }
    assert shapes(model, first) == {first + name: shape for name, shape in (projection | unit).items()}
    assert shapes(model, second) == {second + n: (512, 128) if n == "convolution1.weight" else unit[n] for n in unit}
    assert shapes(model, "patch_embedding.projection.weight") == {
        "patch_embedding.projection.weight": (2 * 2 * 512, 24)
    }
    with_gamma_zero = [n for n, p in model.named_parameters() if n.endswith("gamma") and not p.data.any()]
    assert with_gamma_zero == [f"stem.stages.{i}.units.{j}.norm3.gamma" for i, j in ((0, 0), (1, 0), (1, 1))]


def test_features_give_the_tokens_in_order():
    """Class token, distillation token, registers, patches."""
    model = randomised(small(distillation=True, registers=2))
    batch = images()
    before = model.features(batch).data
    assert before.shape == (6, 1 + 1 + 2 + 9, 24)
    embedded = model.embed(batch).data
    np.testing.assert_array_equal(embedded[:, 2:4], np.broadcast_to(model.registers.data, (6, 2, 24)))
    position = model.position().data[0]
    np.testing.assert_allclose(embedded[:, 0], np.tile(model.class_token.data[0, 0] + position[0], (6, 1)))
    np.testing.assert_allclose(embedded[:, 1], np.tile(model.distillation_token.data[0, 0] + position[1], (6, 1)))
    patches = model.patch_embedding(Tensor(batch)).data
    np.testing.assert_allclose(embedded[:, 4:], patches + position[2:], rtol=1e-6, atol=1e-7)


def test_logits_with_distillation_are_the_mean_of_two_heads():
    model = randomised(small(distillation=True, registers=2))
    features = model.features(images())
    expected = (model.head(features[:, 0]).data + model.head_distillation(features[:, 1]).data) / 2
    np.testing.assert_allclose(model(images()).data, expected, rtol=1e-4, atol=1e-5)
    headless = randomised(small(distillation=True, classes=0))
    pooled = headless.features(images()).data[:, :2].mean(axis=1)
    np.testing.assert_allclose(headless(images()).data, pooled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pool", ["class_token", "mean"])
def test_registers_are_looked_at_but_not_read(pool):
    model = randomised(small(registers=2, pool=pool))
    features = model.features(images())
    pooled = features[:, 0] if pool == "class_token" else features[:, 2:].mean(axis=1)
    logits = model(images()).data
    np.testing.assert_allclose(logits, model.head(pooled).data, rtol=1e-4, atol=1e-5)
    model.registers.data = -model.registers.data
    assert not np.allclose(model(images()).data, logits, rtol=1e-3)


def test_layer_scale_multiplies_both_branches():
    """With gains of 1 nothing changes; with gains of 0 a block is the identity, and half of that with only one of
    them."""
    config = small(layer_scale=1.0, dropout=0.1, stochastic_depth=0.2)
    scaled, plain = randomised(config), ViT(dataclasses.replace(config, layer_scale=0.0))
    parameters = dict(scaled.named_parameters())
    for name, parameter in plain.named_parameters():
        parameter.data = parameters[name].data
    z = Tensor(np.random.default_rng(0).standard_normal((2, 10, 24)).astype(np.float32))
    for block, other in zip(scaled.blocks, plain.blocks, strict=True):
        block.layer_scale1.gain.data, block.layer_scale2.gain.data = np.ones((2, 24), np.float32)
        np.testing.assert_array_equal(block(z).data, other(z).data)
        block.layer_scale2.gain.data = np.zeros(24, np.float32)
        assert not np.allclose(block(z).data, z.data, atol=1e-2)
        block.layer_scale1.gain.data = np.zeros(24, np.float32)
        np.testing.assert_array_equal(block(z).data, z.data)


@pytest.mark.parametrize("convention", ["official", "timm"])
def test_the_stem_by_hand(convention):
    """The whole ResNet, written out with the operations, on one block in each of two stages."""
    model = randomised(dataclasses.replace(HYBRID, stem_depths=(1, 1), patch_size=8, stem_convention=convention))
    for parameter in model.parameters():
        parameter.data = parameter.data.astype(np.float64)
    p = {name.removeprefix("stem."): parameter for name, parameter in model.named_parameters()}

    def layer(x, name, size, stride, norm):
        weight = p[f"{name}.weight"].data
        below = weight.std(axis=0) + 1e-5 if convention == "official" else np.sqrt(weight.var(axis=0) + 1e-8)
        weight = (weight - weight.mean(axis=0)) / below
        x = convolution(x, Tensor(weight.reshape(size, size, -1, weight.shape[1])), stride)
        return group_norm(x, p[f"{norm}.gamma"], p[f"{norm}.beta"], groups=32, eps=eps)

    eps = {"official": 1e-6, "timm": 1e-5}[convention]
    batch = Tensor(images(model.config, 2).astype(np.float64))
    x = max_pool(relu(layer(batch, "root", 7, 2, "root_norm")), size=3, stride=2)
    for stage, stride in ((0, 1), (1, 2)):
        unit = f"stages.{stage}.units.0."
        y = relu(layer(x, f"{unit}convolution1", 1, 1, f"{unit}norm1"))
        y = relu(layer(y, f"{unit}convolution2", 3, stride, f"{unit}norm2"))
        y = layer(y, f"{unit}convolution3", 1, 1, f"{unit}norm3")
        x = relu(layer(x, f"{unit}projection", 1, stride, f"{unit}projection_norm") + y)
    assert x.shape == (2, 4, 4, 512)
    np.testing.assert_allclose(model.stem(batch).data, x.data, rtol=1e-10, atol=1e-12)


def test_the_conventions_differ_a_little():
    official = randomised(HYBRID)
    timm = randomised(dataclasses.replace(HYBRID, stem_convention="timm"))
    batch = Tensor(images(HYBRID))
    one, other = official.stem(batch).data, timm.stem(batch).data
    assert 1e-6 < np.abs(one - other).max() / np.abs(one).max() < 1e-2


# Sizes: what timm counts in vit_base_r50_s16_224, vit_large_r50_s32_224, vit_small_r26_s32_224, vit_tiny_r_s16_p8_224,
# deit_tiny_distilled_patch16_224 and vit_small_patch14_dinov2.
PUBLISHED = [
    ("base", {"stem": "resnet"}, 98_659_112),
    ("large", {"stem": "resnet", "stem_depths": (3, 4, 6, 3), "patch_size": 32}, 328_994_856),
    ("small", {"stem": "resnet", "stem_depths": (2, 2, 2, 2), "patch_size": 32}, 36_431_912),
    ("tiny", {"stem": "resnet", "stem_depths": (), "patch_size": 32}, 6_337_704),
    ("tiny", {"distillation": True}, 5_910_800),
    ("small", {"layer_scale": 1e-5, "patch_size": 14, "image_size": 518, "classes": 0}, 22_056_192),
]


@pytest.mark.parametrize(("size", "changes", "parameters"), PUBLISHED)
def test_parameter_counts_match_the_published_ones(size, changes, parameters):
    assert cost(ViTConfig.named(size, **changes)).parameters == parameters


def test_multiply_adds_are_those_of_the_products(monkeypatch):
    """Counted in a forward pass, at every convolution."""
    counted = []

    def counting(x, kernel, stride):
        out = convolution(x, kernel, stride)
        counted.append(out.data[0, :, :, 0].size * kernel.size)
        return out

    monkeypatch.setattr("tinyvit.nn.convolution.convolution", counting)
    ViT(HYBRID)(images(HYBRID, 2))
    layers = {layer.name: layer for layer in cost(HYBRID).layers}
    assert layers["ResNet stem"].multiply_adds == sum(counted)
    assert layers["ResNet stem"].output == (4, 4, 512)
    assert layers["patch embedding"].multiply_adds == 4 * (2 * 2 * 512) * 24
    plain, distilled = (cost(small(distillation=flag)).layers[-1] for flag in (False, True))
    assert (plain.multiply_adds, distilled.multiply_adds) == (24 * 5, 2 * 24 * 5)


@pytest.mark.parametrize(
    "changes", [{"registers": 3, "distillation": True, "layer_scale": 0.1}, {"stem": "resnet", "stem_depths": (1, 1)}]
)
def test_the_memory_estimate_is_what_the_graph_holds(changes):
    """For each image: what does not grow with the batch, such as standardised weights, is no activation."""
    config = small(image_size=32, patch_size=8, width=64, mlp_width=128, **changes)
    model, held = ViT(config), []
    for count in (4, 20):
        batch = images(config, count)
        tracemalloc.start()
        logits = model(batch)
        held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        assert logits.requires_grad
    assert cost(config).activations * 4 * 16 == pytest.approx(held[1] - held[0], rel=0.03)


def test_every_parameter_of_the_stem_has_its_gradient():
    """In float64, against finite differences in a random direction."""
    model = randomised(HYBRID)
    random = np.random.default_rng(1)
    names, parameters = zip(*model.named_parameters(), strict=True)
    for parameter in parameters:
        parameter.data = parameter.data.astype(np.float64)
    batch, cotangent = images(HYBRID, 2).astype(np.float64), random.standard_normal((2, 5))
    found = gradients((model(batch) * cotangent).sum(), parameters)
    step = 1e-8  # of some thousands of relus, a longer one makes a few turn
    for name, parameter, gradient in zip(names, parameters, found, strict=True):
        if not name.startswith("stem.") and "patch" not in name:
            continue
        value, direction = parameter.data, random.standard_normal(parameter.shape)
        sides = []
        for sign in (1, -1):
            parameter.data = value + sign * step * direction
            with no_grad():
                sides.append((model(batch).data * cotangent).sum())
        parameter.data = value
        assert (gradient * direction).sum() == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-4), name


@pytest.mark.parametrize("pool", ["class_token", "mean"])
def test_rollout_is_over_patches_only(pool):
    config = small(registers=2, distillation=pool == "class_token", pool=pool)
    maps = randomised(config).attention_maps(images())
    shares = rollout(maps, pool == "class_token", config.extra_tokens)
    assert shares.shape == (6, 3, 3)
    np.testing.assert_allclose(shares.sum(axis=(1, 2)), 1, rtol=1e-5)


def test_rollout_goes_through_the_extra_tokens():
    """A class token, a register, four patches: the register looks at patch 2, then the class token at the register."""
    first, second = np.eye(6), np.eye(6)
    first[1] = [0, 0, 0, 1, 0, 0]
    second[0] = [0, 1, 0, 0, 0, 0]
    shares = rollout(np.stack([first, second])[:, None, None], class_token=True, extra_tokens=1)
    np.testing.assert_allclose(shares, [[[0, 1], [0, 0]]])


def test_rollout_of_mean_pooling_leaves_out_what_the_registers_look_at():
    """A register that looks at the first patch only; the patches look at themselves, and only they are averaged."""
    looks = np.eye(5)
    looks[0] = [0, 1, 0, 0, 0]
    shares = rollout(looks[None, None, None], class_token=False, extra_tokens=1)
    np.testing.assert_allclose(shares, [[[0.25, 0.25], [0.25, 0.25]]])
