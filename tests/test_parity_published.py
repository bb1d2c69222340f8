"""Checkpoints in the formats of others, with random weights: the answers of the code that they come from."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl

from tinyvit import load_pretrained, no_grad
from tinyvit.errors import InputError
from tinyvit.models import ViT, ViTConfig
from tinyvit.models.preprocessing import Preprocessing
from tinyvit.models.published import save_pretrained

torch = pytest.importorskip("torch", reason="compares with PyTorch and timm (extra `parity`)")

from published import (  # noqa: E402
    TOLERANCE,
    assert_same_answers,
    huggingface_model,
    images_for,
    timm_model,
    write_torch,
)
from test_parity import import_timm, relative_error  # noqa: E402
from vits import randomised  # noqa: E402

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


# Arguments of the Flax model, and how its file is written. Each case is one more kind of name or shape.
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
    for image_size in (48, 80) if "representation" in arguments or "big_vision" in arguments else (48,):
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


HUGGING_FACE = {
    "ViTModel with pooler": ("ViTModel", {}),
    "ViTForImageClassification": ("ViTForImageClassification", {"num_labels": 7, "layer_norm_eps": 1e-5}),
    "ViT with the tanh GELU": ("ViTForImageClassification", {"num_labels": 7, "hidden_act": "gelu_new"}),
    "DeiT": ("DeiTForImageClassificationWithTeacher", {"num_labels": 7}),
    "Dinov2Model": ("Dinov2Model", {"layerscale_value": 0.5}),
    "Dinov2WithRegistersModel": ("Dinov2WithRegistersModel", {"num_register_tokens": 3}),
}


@pytest.mark.parametrize("in_memory_names", [False, True], ids=["names in files", "names in memory"])
@pytest.mark.parametrize("name, arguments", HUGGING_FACE.values(), ids=HUGGING_FACE.keys())
def test_hugging_face(tmp_path, name, arguments, in_memory_names):
    """At both sizes the oracle is the same: transformers resizes positions as it goes."""
    oracle = huggingface_model(name, **arguments)
    oracle.save_pretrained(tmp_path)
    if in_memory_names:
        write_torch(oracle, tmp_path / "model.safetensors")
    resizing = {} if "Dinov2" in name else {"interpolate_pos_encoding": True}
    base = getattr(oracle, "base_model", oracle)

    def features(images):
        return base(images, **resizing).last_hidden_state

    def logits(images):
        answer = oracle(images, **resizing)
        return answer.logits if hasattr(answer, "logits") else answer.pooler_output

    for image_size in (None, 72):
        model = load_pretrained(tmp_path, image_size=image_size)
        assert_same_answers(model, logits, features, count=2)


def test_hugging_face_single_file(tmp_path):
    """Without config.json: heads are 64 wide, the epsilon is transformers' own."""
    oracle = huggingface_model("ViTForImageClassification", hidden_size=192, num_attention_heads=3, num_labels=7)
    path = write_torch(oracle, tmp_path / "model.safetensors")
    assert_same_answers(load_pretrained(path), lambda images: oracle(images).logits, None)


def test_hugging_face_shards(tmp_path):
    """Several files and an index."""
    oracle = huggingface_model("ViTForImageClassification", num_labels=7)
    oracle.save_pretrained(tmp_path, max_shard_size="200KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert_same_answers(load_pretrained(tmp_path), lambda images: oracle(images).logits, None)


@pytest.mark.parametrize("name", ["bfloat16", "float16", "float64"])
def test_other_precisions(tmp_path, name):
    """Weights of another type give the answers of the model that has these very weights in float32."""
    oracle = timm_model("vit_tiny_patch16_224", depth=1).to(getattr(torch, name))
    path = write_torch(oracle, tmp_path / "model.safetensors")
    assert_same_answers(load_pretrained(path), oracle.float(), oracle.forward_features)


WRITTEN = {
    "plain": {},
    "tanh GELU": {"gelu": "tanh"},
    "another epsilon": {"norm_eps": 1e-5},
    "no head": {"classes": 0},
    "distillation": {"distillation": True},
    "LayerScale": {"layer_scale": 0.1, "classes": 0, "mlp_width": 96},
    "registers": {"layer_scale": 0.1, "registers": 3, "classes": 0, "mlp_width": 96},
    "mean pooling": {"pool": "mean"},
    "positions by row and column": {"position_embedding": "learned_2d", "channels": 1},
    "sinusoidal positions": {"position_embedding": "sinusoidal"},
    "no positions": {"position_embedding": "none"},
    "hybrid": {
        "stem": "resnet",
        "stem_depths": (2, 2, 2, 2),
        "stem_convention": "timm",
        "patch_size": 32,
        "image_size": 64,
    },
    "registers without class token": {"pool": "mean", "registers": 2},
}
NOT_IN_TRANSFORMERS = ("mean pooling", "hybrid", "registers without class token")


def written_model(changes: dict) -> ViT:
    shape = {"image_size": 48, "patch_size": 8, "width": 48, "depth": 2, "heads": 6, "mlp_width": 100, "classes": 7}
    preprocessing = Preprocessing((0.4, 0.5, 0.6), (0.2, 0.3, 0.25), "shorter_side", 0.875, "bilinear")
    if changes.get("channels") == 1:
        preprocessing = Preprocessing()
    return randomised(ViTConfig(**{**shape, "gelu": "exact", "preprocessing": preprocessing, **changes}))


@pytest.mark.parametrize("changes", WRITTEN.values(), ids=WRITTEN.keys())
def test_timm_loads_what_is_written(tmp_path, changes):
    """timm makes the model from config.json and checks every name."""
    model = written_model(changes)
    notes = save_pretrained(model, tmp_path, "timm")
    assert bool(notes) == (model.config.norm_eps != 1e-6)
    timm = import_timm()
    oracle = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    if notes:
        for module in oracle.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.eps = model.config.norm_eps
    assert_same_answers(model, oracle, oracle.forward_features)
    data = timm.data.resolve_model_data_config(oracle)
    chosen = model.config.preprocessing
    assert (tuple(data["mean"]), tuple(data["std"])) == (chosen.mean, chosen.std)
    assert (data["crop_pct"], data["interpolation"]) == (chosen.crop, chosen.interpolation)


def test_what_timm_writes_beside_is_read(tmp_path):
    """The arguments of a model that is in no list: its heads and its GELU."""
    save_pretrained(written_model(WRITTEN["tanh GELU"]), tmp_path / "ours", "timm")
    timm = import_timm()
    oracle = timm.create_model(f"local-dir:{tmp_path / 'ours'}", pretrained=True).eval()
    timm.models.save_for_hf(oracle, tmp_path / "theirs", safe_serialization=True)
    model = load_pretrained(tmp_path / "theirs")
    assert (model.config.heads, model.config.gelu) == (6, "tanh")
    assert_same_answers(model, oracle, oracle.forward_features)


@pytest.mark.parametrize("name", [name for name in WRITTEN if name not in NOT_IN_TRANSFORMERS])
def test_transformers_loads_what_is_written(tmp_path, name):
    import_timm()
    transformers = pytest.importorskip("transformers", reason="compares with transformers (extra `parity`)")
    model = written_model(WRITTEN[name])
    assert not save_pretrained(model, tmp_path, "huggingface")
    kind = json.loads((tmp_path / "config.json").read_text())["architectures"][0]
    arguments = {"add_pooling_layer": False} if kind == "ViTModel" else {}
    oracle, told = getattr(transformers, kind).from_pretrained(tmp_path, output_loading_info=True, **arguments)
    assert not any(told.values()), told
    base = oracle.eval().base_model
    logits = (lambda images: oracle(images).logits) if model.config.classes else None
    assert_same_answers(model, logits, lambda images: base(images).last_hidden_state)


def test_the_way_out_of_a_pickle(tmp_path):
    """The command in the error for a pickle, as it stands there, makes a file that loads."""
    oracle = timm_model("vit_tiny_patch16_224", depth=1)
    path = tmp_path / "it's a model.pth"
    torch.save({"model": oracle.state_dict(), "epoch": 7}, path)
    with pytest.raises(InputError) as caught:
        load_pretrained(path)
    command = str(caught.value).split("make a safetensors file of it with ")[1]
    folder = Path(sys.executable).parent
    subprocess.run(command, shell=True, check=True, env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"})
    assert_same_answers(load_pretrained(path.with_suffix(".safetensors")), oracle, oracle.forward_features)
