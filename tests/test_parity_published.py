"""Checkpoints in the formats of others, with random weights: the answers of the code that they come from."""

import numpy as np
import pytest
import threadpoolctl

from tinyvit import load_pretrained, no_grad

torch = pytest.importorskip("torch", reason="compares with PyTorch and timm (extra `parity`)")

from published import TOLERANCE, assert_same_answers, images_for, timm_model, write_torch  # noqa: E402
from test_parity import relative_error  # noqa: E402

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Two libraries that each want every core hinder each other more than several threads help them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpoolctl.threadpool_limits(1, "blas"):
        yield
    torch.set_num_threads(before)


TIMM = {
    "tiny": ("vit_tiny_patch16_224", {}, 160),
    "small at 384": ("vit_small_patch16_384", {"depth": 2}, 224),
    "base": ("vit_base_patch16_224", {}, None),
    "base/32": ("vit_base_patch32_224", {"depth": 2}, 384),
    "no class token": ("vit_base_patch16_gap_224", {"depth": 1}, 256),
    "DeiT, distilled": ("deit_tiny_distilled_patch16_224", {"depth": 3}, 288),
    "DeiT III: LayerScale, the class token has no position": ("deit3_small_patch16_224", {"depth": 2}, 240),
    "DINOv2": ("vit_small_patch14_dinov2", {"depth": 1, "img_size": 224}, 126),
    "DINOv2 with registers": ("vit_small_patch14_reg4_dinov2", {"depth": 1, "img_size": 224}, 126),
    "R50 hybrid": ("vit_base_r50_s16_224", {"depth": 1}, None),
    "R26 hybrid": ("vit_small_r26_s32_224", {"depth": 1}, 160),
    "ResNet stem without stages": ("vit_tiny_r_s16_p8_224", {"depth": 1}, None),
    "registers with positions": ("vit_tiny_patch16_224", {"depth": 1, "reg_tokens": 3, "num_classes": 7}, 144),
}


@pytest.mark.parametrize("name, arguments, other_size", TIMM.values(), ids=TIMM.keys())
def test_timm(tmp_path, name, arguments, other_size):
    oracle = timm_model(name, **arguments)
    path = write_torch(oracle, tmp_path / "model.safetensors")
    assert_same_answers(load_pretrained(path), oracle, oracle.forward_features)
    if other_size is not None:
        oracle.set_input_size(img_size=other_size)
        assert_same_answers(load_pretrained(path, image_size=other_size), oracle, oracle.forward_features)


@pytest.fixture(scope="module")
def flax_vit():
    pytest.importorskip("flax", reason="compares with Flax (extra `parity`)")
    return pytest.importorskip("flax_vit")


GOOGLE = {
    "original": ({"representation": 40}, {}),
    "no representation, compressed": ({}, {"prefix": "opt/target/", "save": np.savez_compressed}),
    "Linen": ({"names": "LINEN"}, {"prefix": "params/"}),
    "big_vision, stacked blocks": ({"names": "LINEN", "big_vision": True}, {"prefix": "params/img/", "stacked": True}),
    "stacked and compressed": ({"names": "LINEN"}, {"save": np.savez_compressed, "stacked": True}),
    "mean pooling": ({"class_token": False, "names": "LINEN", "big_vision": True}, {}),
    "mean pooling, original": ({"class_token": False}, {}),
    "heads of another width": ({"heads": 8}, {}),
    "hybrid": ({"patch_size": 1, "stages": (1, 2)}, {"gains_of_rank_4": True}),
}


@pytest.mark.parametrize("arguments, written", GOOGLE.values(), ids=GOOGLE.keys())
def test_google(tmp_path, flax_vit, arguments, written):
    """Bilinear resizing as in the official code, with SciPy."""
    from scipy.ndimage import zoom

    arguments = dict(arguments)
    if arguments.get("names") == "LINEN":
        arguments["names"] = flax_vit.flax.core.freeze(flax_vit.LINEN)
    oracle = flax_vit.GoogleViT(**arguments)
    weights = flax_vit.random_weights(oracle, image_size=48)
    written = dict(written)
    held = dict(weights)
    if written.pop("gains_of_rank_4", False):
        held = {name: a.reshape(1, 1, 1, -1) if "gn" in name else a for name, a in held.items()}
    path = flax_vit.write(held, tmp_path / "model.npz", **written)
    for image_size in (48, 80):
        model = load_pretrained(path, image_size=image_size)
        if image_size != 48:
            name = next(name for name in weights if name.endswith("pos_embedding"))
            first, patches = np.split(weights[name], [int(weights[name].shape[1] == 37)], axis=1)
            patches = zoom(patches.reshape(6, 6, -1), (image_size / 48, image_size / 48, 1), order=1)
            weights[name] = np.concatenate([first, patches.reshape(1, -1, patches.shape[-1])], axis=1)
        images = images_for(model, 2)
        logits, tokens = flax_vit.answers(oracle, weights, images)
        with no_grad():
            assert relative_error(model(images).data, logits) < TOLERANCE
            assert relative_error(model.features(images).data, tokens) < TOLERANCE
