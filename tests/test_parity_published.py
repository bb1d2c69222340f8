"""Checkpoints in the formats of others, with random weights: the answers of the code that they come from."""

import pytest
import threadpoolctl

from tinyvit import load_pretrained

torch = pytest.importorskip("torch", reason="compares with PyTorch and timm (extra `parity`)")

from published import assert_same_answers, timm_model, write_torch  # noqa: E402

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
