"""load_pretrained and save_pretrained without the code of others: round trips, heads, image sizes, memory."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from vits import images, name_of, randomised, small

from tinyvit import load_pretrained, no_grad
from tinyvit.errors import InputError
from tinyvit.models import ViT, ViTConfig, load_model
from tinyvit.models.preprocessing import Preprocessing
from tinyvit.models.published import FORMS, save_pretrained
from tinyvit.models.published.google import GOOGLE
from tinyvit.models.published.huggingface import VIT
from tinyvit.models.published.resize import METHODS
from tinyvit.models.published.rules import arrays_of
from tinyvit.models.published.source import Source
from tinyvit.models.published.timm import TIMM
from tinyvit.nn import initial

BOTH, TIMM_ONLY, HUGGING_FACE_ONLY, OWN_ONLY = ("timm", "huggingface"), ("timm",), ("huggingface",), ()
LAYER_SCALE = {"layer_scale": 0.1, "classes": 0, "mlp_width": 48}
# Changes of the small model, and the forms of others that have a place for it.
CASES = [
    ({}, BOTH),
    ({"gelu": "exact", "norm_eps": 1e-12, "heads": 1}, BOTH),
    ({"classes": 0}, BOTH),
    ({"dropout": 0.1, "stochastic_depth": 0.2, "patch_size": 3}, BOTH),
    ({"preprocessing": Preprocessing((0.4,), (0.3,), "stretch", 0.5, "bilinear")}, BOTH),
    ({"position_embedding": "learned_2d"}, BOTH),
    ({"position_embedding": "sinusoidal"}, BOTH),
    ({"position_embedding": "none"}, BOTH),
    ({"distillation": True}, BOTH),
    (LAYER_SCALE, BOTH),
    ({**LAYER_SCALE, "registers": 2}, BOTH),
    ({**LAYER_SCALE, "classes": 5}, TIMM_ONLY),
    ({**LAYER_SCALE, "mlp_width": 40}, TIMM_ONLY),
    ({**LAYER_SCALE, "distillation": True}, TIMM_ONLY),
    ({**LAYER_SCALE, "representation": 7}, OWN_ONLY),
    ({"registers": 2}, TIMM_ONLY),
    ({"registers": 5, "pool": "mean"}, TIMM_ONLY),
    ({"pool": "mean", "position_embedding": "learned_2d"}, TIMM_ONLY),
    ({"registers": 2, "distillation": True}, OWN_ONLY),
    ({"representation": 7}, OWN_ONLY),
    ({"representation": 7, "classes": 0}, HUGGING_FACE_ONLY),
    ({"stem": "resnet", "stem_depths": (), "stem_convention": "timm"}, TIMM_ONLY),
    ({"stem": "resnet", "stem_depths": (1,)}, OWN_ONLY),
]


def answers_as_loaded(model: ViT) -> np.ndarray:
    with no_grad():
        return model(images(model.config, 2)).data


def answers(model: ViT) -> np.ndarray:
    """With every matrix laid out row by row: where one is kept transposed, as its file has it, some BLAS kernels sum in
    another order, and the last bits differ."""
    for parameter in model.parameters():
        parameter.data = parameter.data.copy(order="C")
    return answers_as_loaded(model)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("changes, forms", CASES, ids=[name_of(changes) for changes, _ in CASES])
def test_what_is_saved_is_loaded(tmp_path, changes, forms, form):
    """To the last bit; positions that others do not have come back as learned ones that give the same."""
    model = randomised(small(**changes))
    if form not in ("tinyvit", *forms):
        with pytest.raises(InputError, match=r"timm|transformers"):
            save_pretrained(model, tmp_path / "other", form)
        assert not (tmp_path / "other").exists()
        return
    save_pretrained(model, tmp_path / "other", form)
    loaded = load_pretrained(tmp_path / "other")
    np.testing.assert_allclose(answers_as_loaded(loaded), answers(model), rtol=1e-5, atol=2e-6)
    np.testing.assert_array_equal(answers(loaded), answers(model))
    kind = loaded.config.position_embedding
    assert kind == (model.config.position_embedding if form == "tinyvit" else "learned")
    assert {**vars(loaded.config), "position_embedding": None} == {**vars(model.config), "position_embedding": None}
    if kind == model.config.position_embedding and not (model.config.registers and form == "timm"):
        expected = dict(model.named_parameters())
        for name, parameter in loaded.named_parameters():
            np.testing.assert_array_equal(parameter.data, expected[name].data, err_msg=name)


def test_class_names_are_kept(tmp_path):
    model, names = ViT(small()), ["cat", "dog", "eel", "fox", "gnu"]
    for form in FORMS:
        save_pretrained(model, tmp_path / form, form, class_names=names)
    assert load_model(tmp_path / "tinyvit" / "model.safetensors")[1]["classes"] == names
    assert json.loads((tmp_path / "timm" / "config.json").read_text())["label_names"] == names
    assert list(json.loads((tmp_path / "huggingface" / "config.json").read_text())["id2label"].values()) == names


def test_refused_saving(tmp_path):
    model = ViT(small())
    with pytest.raises(InputError, match="did you mean 'timm'"):
        save_pretrained(model, tmp_path, "tim")
    with pytest.raises(InputError, match="give a folder"):
        save_pretrained(model, tmp_path / "model.safetensors", "huggingface")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make the folder"):
        save_pretrained(model, tmp_path / "file" / "folder", "timm")


@pytest.fixture(params=FORMS)
def saved(request, tmp_path):
    """A model, and a folder with it in each of the forms."""
    model = randomised(small(representation=0))
    save_pretrained(model, tmp_path, request.param)
    return model, tmp_path


def test_the_head_is_kept_replaced_or_left_out(saved):
    model, path = saved
    assert load_pretrained(path, classes=5).config == model.config
    np.testing.assert_array_equal(answers(load_pretrained(path, classes=5)), answers(model))
    other = load_pretrained(path, classes=3)
    assert other.config.classes == 3
    np.testing.assert_array_equal(answers(other), np.zeros((2, 3), np.float32))
    none = load_pretrained(path, classes=0)
    assert none.head is None
    np.testing.assert_array_equal(answers(none) @ model.head.weight.data + model.head.bias.data, answers(model))


def test_a_new_head_stands_on_no_representation(tmp_path):
    save_pretrained(randomised(small(representation=7)), tmp_path)
    assert load_pretrained(tmp_path).config.representation == 7
    assert load_pretrained(tmp_path, classes=0).config.representation == 7
    assert load_pretrained(tmp_path, classes=3).config.representation == 0


def test_both_heads_of_a_distilled_model_are_replaced(tmp_path):
    save_pretrained(randomised(small(distillation=True)), tmp_path, "timm")
    assert not answers(load_pretrained(tmp_path, classes=3)).any()
    assert load_pretrained(tmp_path, classes=0).head_distillation is None


@pytest.mark.parametrize("kind", ["learned", "learned_2d", "sinusoidal", "none"])
@pytest.mark.parametrize("pool", ["class_token", "mean"])
def test_another_image_size(tmp_path, kind, pool):
    """tinyvit's own positions keep their corners, and a bilinear surface stays one."""
    model = randomised(small(position_embedding=kind, pool=pool))
    if kind == "learned":
        rows, columns = np.meshgrid(np.linspace(0, 1, 3), np.linspace(0, 1, 3), indexing="ij")
        surface = (rows + 2 * columns).reshape(1, 9, 1)
        model.position.embedding.data[:, -9:] = surface
    save_pretrained(model, tmp_path)
    larger = load_pretrained(tmp_path, image_size=20)
    assert larger.config.image_size == 20
    assert answers(larger).shape == (2, 5)
    if kind == "learned":
        rows, columns = np.meshgrid(np.linspace(0, 1, 5), np.linspace(0, 1, 5), indexing="ij")
        found = larger.position.embedding.data
        np.testing.assert_allclose(found[0, -25:, 0], (rows + 2 * columns).reshape(25), rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(found[:, :-25], model.position.embedding.data[:, :-9])
    if kind == "learned_2d":
        for ours, theirs in (
            (larger.position.rows, model.position.rows),
            (larger.position.columns, model.position.columns),
        ):
            np.testing.assert_array_equal(ours.data.squeeze()[::2], theirs.data.squeeze())
    with pytest.raises(InputError, match="does not divide image size 21"):
        load_pretrained(tmp_path, image_size=21)


@pytest.mark.parametrize("method", METHODS)
def test_resizing_keeps_what_is_constant(method):
    for old, new in ((14, 24), (14, 5), (1, 4), (4, 1), (3, 3)):
        matrix = METHODS[method](old, new)
        assert matrix.shape == (new, old)
        np.testing.assert_allclose(matrix.sum(axis=1), 1)
    np.testing.assert_allclose(METHODS[method](6, 6), np.eye(6), atol=1e-12)


def test_what_is_loaded_can_be_trained_and_leaves_the_file(tmp_path):
    save_pretrained(randomised(small()), tmp_path, "timm")
    before = (tmp_path / "model.safetensors").read_bytes()
    model = load_pretrained(tmp_path)
    for parameter in model.parameters():
        parameter.data -= 1
    assert (tmp_path / "model.safetensors").read_bytes() == before
    np.testing.assert_array_equal(load_pretrained(tmp_path).norm.gamma.data - 1, model.norm.gamma.data)


def test_a_head_is_not_guessed_from_an_unusual_width(tmp_path):
    """What a single file does not say is asked for, not guessed."""
    save_pretrained(ViT(small(channels=3)), tmp_path, "huggingface")
    (tmp_path / "config.json").rename(tmp_path / "other.json")
    from safetensors.numpy import load_file

    save_file(load_file(tmp_path / "model.safetensors"), tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"how many heads.*width 24.*config\.json"):
        load_pretrained(tmp_path)
    (tmp_path / "other.json").rename(tmp_path / "config.json")
    assert load_pretrained(tmp_path).config.heads == 2


def test_what_is_not_aligned_in_a_file_is_aligned_in_memory(tmp_path):
    """Arrays lie anywhere in an .npz file, and matrix products copy what is not aligned each time."""
    with initial.shapes_only():
        parameters = {name: parameter.data for name, parameter in ViT(small()).named_parameters()}
    np.savez(tmp_path / "model.npz", **arrays_of(parameters, GOOGLE.rules(small())))
    model = load_pretrained(tmp_path / "model.npz")
    assert all(parameter.data.flags.aligned for parameter in model.parameters())


def write_zeros(config: ViTConfig, source: Source, path: Path) -> None:
    """A model of zeros in the form of a source. A safetensors file of them takes no room on most disks."""
    with initial.shapes_only():
        parameters = {name: parameter.data for name, parameter in ViT(config).named_parameters()}
    arrays = arrays_of(parameters, source.rules(config))
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return
    header, end = {}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [end, end + 4 * array.size]}
        end += 4 * array.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(file.tell() + end)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("source", [GOOGLE, TIMM, VIT], ids=lambda source: source.name)
def test_loading_takes_no_more_memory_than_the_file(tmp_path, source):
    """A file of 200 MB, loaded, and then every weight read."""
    config = ViTConfig(image_size=32, patch_size=16, width=1024, depth=4, heads=16, mlp_width=4096, classes=10)
    path = tmp_path / ("model.npz" if source is GOOGLE else "model.safetensors")
    write_zeros(config, source, path)
    script = """
import re, sys
from pathlib import Path
import numpy as np
import tinyvit
def memory():
    text = Path("/proc/self/status").read_text()
    return [int(re.search(rf"{kind}:\\s+(\\d+)", text)[1]) * 1024 for kind in ("VmRSS", "VmHWM")]
before, _ = memory()
model = tinyvit.load_pretrained(sys.argv[1])
_, peak = memory()
total = sum(float(parameter.data.sum()) for parameter in model.parameters())
print(peak - before, memory()[1] - before)
"""
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    loading, in_use = map(int, done.stdout.split())
    size = path.stat().st_size
    assert size > 200e6
    assert loading < (0.1 if source is TIMM else 1.2) * size  # nothing of timm's needs to be copied
    assert in_use < 1.2 * size
