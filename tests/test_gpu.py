"""Which device is chosen, why a GPU cannot be used, and the commands on one.

Without a GPU a stand-in for CuPy shows one (see fake_cupy.py), and the kernels run through cuda_on_cpu.
"""

import re
import shutil
import sys
import types
from pathlib import Path

import fake_cupy
import numpy as np
import pytest
from PIL import Image
from small_runs import OPTIONS, command, metrics, pictures, refused

from tinyvit import gpu
from tinyvit.commands import pick_device
from tinyvit.device import CPU
from tinyvit.errors import InputError
from tinyvit.models import ViT, ViTConfig, load_model
from tinyvit.training.flat import FlatParameters
from tinyvit.training.step import TrainStep

# SGD, since AdamW divides by the gradient's size and so makes much of rounding where that is close to zero.
FEW = [
    *OPTIONS,
    *"--limit-train 30 --limit-test 12 --batch-size 10 --epochs 2 --dropout 0 --optimizer sgd --lr 0.1".split(),
]


def without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)


def failing(error: Exception):
    def fail(*_, **__):
        raise error

    return fail


# Choosing


def test_a_gpu_is_found_and_used(fake_gpu):
    for name in ("auto", "gpu", "gpu:0"):
        device = pick_device(name)
        assert device.is_gpu and device.xp is fake_gpu and device.name == "a fake GPU" and device.dtype == np.float32
    assert pick_device("gpu", "bfloat16").dtype.name == "bfloat16"


def test_the_cpu_is_used_when_it_is_asked_for(fake_gpu, capsys):
    assert pick_device("cpu") is CPU
    assert fake_gpu.counts.copies == 0 and capsys.readouterr().err == ""


def test_without_cupy_auto_is_the_cpu_and_says_nothing(monkeypatch, capsys):
    without_cupy(monkeypatch)
    assert pick_device("auto") is CPU and capsys.readouterr().err == ""
    with pytest.raises(InputError, match=r"device 'gpu': CuPy is not installed: pip install -e '\.\[cuda13\]'"):
        pick_device("gpu")


def test_a_broken_cupy_is_not_one_that_is_missing(monkeypatch, capsys):
    without_cupy(monkeypatch)
    monkeypatch.delitem(sys.modules, "cupy")
    monkeypatch.setattr("builtins.__import__", _import_that_fails("cupy", ImportError("libfoo.so: cannot open")))
    assert pick_device("auto") is CPU
    assert re.search(r"computing on the CPU: CuPy cannot be loaded .*libfoo\.so", capsys.readouterr().err)


def _import_that_fails(name: str, error: Exception):
    before = __import__

    def find(module, *args, **kwargs):
        if module == name:
            raise error
        return before(module, *args, **kwargs)

    return find


@pytest.mark.parametrize("count", [lambda: 0, failing(RuntimeError("cudaErrorInsufficientDriver: too old"))])
def test_without_a_gpu_auto_is_the_cpu(fake_gpu, monkeypatch, capsys, count):
    monkeypatch.setattr(fake_gpu.cuda.runtime, "getDeviceCount", count)
    assert pick_device("auto") is CPU and capsys.readouterr().err == ""
    with pytest.raises(InputError, match=r"device 'gpu': .*driver"):
        pick_device("gpu")


@pytest.mark.parametrize("error", [OSError("no libnvrtc"), ImportError("no libcublas"), MemoryError("none is left")])
def test_a_gpu_that_does_not_work_is_not_used_and_the_reason_is_told(fake_gpu, monkeypatch, capsys, error):
    monkeypatch.setattr(fake_gpu, "RawKernel", failing(error))
    assert pick_device("auto") is CPU
    said = capsys.readouterr().err
    assert str(error) in said and "python -m tinyvit.doctor" in said and said.count("\n") == 1
    with pytest.raises(InputError, match=f"GPU 0 does not work .*{error}"):
        pick_device("gpu")


def several(monkeypatch, cupy, free: list[int | None]) -> None:
    """GPUs with so much free memory; None for one that is broken."""

    class Device(cupy.cuda.Device):
        def __init__(self, number=None):
            super().__init__(number)
            if free[self.id] is None:
                raise RuntimeError("cudaErrorECCUncorrectable")
            self.mem_info = (free[self.id], 16 << 30)

    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", lambda: len(free))
    monkeypatch.setattr(cupy.cuda, "Device", Device)


def test_the_gpu_with_the_most_free_memory_is_chosen(fake_gpu, monkeypatch):
    several(monkeypatch, fake_gpu, [1 << 30, 3 << 30, None, 2 << 30])
    found = gpu.find_gpus()
    assert [one.number for one in found] == [0, 1, 3], "a broken GPU does not hide the others"
    assert gpu.choose(found, None).number == 1 and gpu.choose(found, 3).number == 3
    with pytest.raises(InputError, match="there is no GPU 2: choose gpu:0 or gpu:1 or gpu:3"):
        gpu.choose(found, 2)


@pytest.mark.parametrize("name", ["tpu", "cuda", "gpu:", "gpu:x", "cpu:0", "auto:1", ""])
def test_unknown_devices_are_refused(fake_gpu, name):
    with pytest.raises(InputError, match=f"unknown device '{name}'.*known are auto, cpu, gpu"):
        pick_device(name)


def test_precisions(fake_gpu, monkeypatch):
    with pytest.raises(InputError, match="unknown precision 'half'"):
        pick_device("gpu", "half")
    with pytest.raises(InputError, match="precision 'bfloat16' is for GPUs"):
        pick_device("cpu", "bfloat16")
    monkeypatch.setattr(fake_gpu.cuda.Device, "compute_capability", "75", raising=False)
    old = gpu.GPU(0, "an old GPU", 75, 1, 1)
    with pytest.raises(InputError, match=r"'tf32' needs .* 8\.0 .* an old GPU has 7\.5"):
        gpu.use(old, "tf32")


def test_tf32_stays_on(fake_gpu, monkeypatch):
    """It is a block of its own elsewhere; here it must not end with the call, nor when garbage is collected."""
    told = []
    products = types.SimpleNamespace(
        COMPUTE_TYPE_TF32="tf32",
        get_compute_type=lambda dtype: "float32",
        set_compute_type=lambda dtype, compute_type: told.append(compute_type),
    )
    core = types.ModuleType("cupy._core")
    core._routines_linalg = products
    monkeypatch.setitem(sys.modules, "cupy._core", core)
    assert pick_device("gpu", "tf32").dtype == np.float32
    assert told == ["tf32"]
    gpu._for_good.close()
    assert told == ["tf32", "float32"]


# The commands


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run that ended well on the CPU."""
    folder = tmp_path_factory.mktemp("cpu") / "run"
    assert command("train", *FEW, "--device", "cpu", "--out", folder).status == 0
    return folder


@pytest.fixture(scope="module")
def gpu_run(tmp_path_factory) -> Path:
    """The same on the stand-in for a GPU."""
    folder = tmp_path_factory.mktemp("gpu") / "run"
    with fake_cupy.installed() as cupy:
        ended = command("train", *FEW, "--device", "gpu", "--out", folder)
        assert ended.status == 0 and "device     a fake GPU, float32" in ended.out
        assert not cupy.counts.races
    return folder


def test_training_on_a_gpu_gives_what_it_gives_on_the_cpu(run, gpu_run):
    here, there = (load_model(folder / "model.safetensors")[0] for folder in (run, gpu_run))
    for (name, expected), found in zip(here.named_parameters(), there.parameters(), strict=True):
        np.testing.assert_allclose(found.data, expected.data, atol=1e-4, err_msg=name)
    for expected, found in zip(metrics(run), metrics(gpu_run), strict=True):
        assert found["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-3)
        assert found["test_loss"] == pytest.approx(expected["test_loss"], rel=1e-3)


def test_a_step_on_a_gpu_waits_for_nothing(fake_gpu, tmp_path):
    """Twice the steps, the same waits: those for checkpoints, evaluations and the losses of each epoch."""

    def waits(images: int) -> int:
        before = fake_gpu.counts.synchronisations
        folder = tmp_path / str(images)
        options = [*FEW, "--epochs", "1", "--limit-train", str(images), "--rand-augment", "1", "5", "--erasing", "0.5"]
        assert command("train", *options, "--device", "gpu", "--out", folder).status == 0
        return fake_gpu.counts.synchronisations - before

    assert waits(60) == waits(30)


def test_evaluate_predict_and_features_on_a_gpu(fake_gpu, run, tmp_path):
    pictures(tmp_path / "pictures")
    results = []
    for device in ("cpu", "gpu"):
        work = shutil.copytree(run, tmp_path / device)
        evaluated = command("evaluate", work, "--device", device)
        predicted = command("predict", work, "--device", device)
        written = command("features", work, tmp_path / "pictures", "-o", work / "f.npz", "--device", device)
        assert evaluated.status == predicted.status == written.status == 0, (evaluated, predicted, written)
        found = re.search(r"accuracy (\S+)%, loss (\S+)", evaluated.out).groups()
        names = re.findall(r"^(labelled .+?: .+?) [\d.]+%", predicted.out, re.MULTILINE)
        with Image.open(work / "predictions.png") as picture:
            pixels = np.asarray(picture, float)
        results.append((np.array(found, float), names, np.load(work / "f.npz")["features"], pixels))
    assert len(results[0][1]) == 4 and results[0][1] == results[1][1]
    for here, there in zip(results[0], results[1], strict=True):
        if not isinstance(here, list):
            np.testing.assert_allclose(there, here, rtol=1e-3, atol=1e-3 * np.abs(here).max())


@pytest.mark.parametrize("position", ["learned", "learned_2d", "sinusoidal"])
def test_a_model_moves_with_its_constants(fake_gpu, position):
    shape = {"image_size": 8, "patch_size": 4, "channels": 1, "width": 16, "depth": 1, "heads": 1, "mlp_width": 16}
    config = ViTConfig(**shape, classes=3, position_embedding=position)
    model, device = ViT(config), pick_device("gpu")
    images = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 1)).astype(np.float32)
    expected, maps = model.features(images).data, model.attention_maps(images)
    assert model.to(device) is model
    assert all(isinstance(tensor.data, fake_gpu.ndarray) for tensor in (*model.parameters(), *model.constants()))
    np.testing.assert_allclose(model.features(device.put(images)).data.get(), expected, atol=1e-5)
    there = model.attention_maps(device.put(images))
    assert isinstance(there, np.ndarray)
    np.testing.assert_allclose(there, maps, atol=1e-6)


def test_constants_have_the_type_of_the_parameters_in_use(fake_gpu):
    """Training computes in bfloat16, evaluation in float32: CuPy shall not mix them."""
    shape = {"image_size": 8, "patch_size": 4, "channels": 1, "width": 16, "depth": 1, "heads": 1, "mlp_width": 16}
    model = ViT(ViTConfig(**shape, classes=3, position_embedding="sinusoidal"))
    flat = FlatParameters(model, pick_device("gpu", "bfloat16"))

    def types_in_use() -> set[str]:
        return {tensor.dtype.name for tensor in (*model.parameters(), *model.constants())}

    assert types_in_use() == {"bfloat16"}
    with flat.replaced_by(flat.data):
        assert types_in_use() == {"float32"}
    assert types_in_use() == {"bfloat16"}


# Out of memory


def _stopped_after(steps: int, error: BaseException):
    """A training step that fails after so many."""
    before, done = TrainStep.__call__, 0

    def step(*args):
        nonlocal done
        done += 1
        if done > steps:
            raise error
        return before(*args)

    return step


def test_a_gpu_without_memory_says_what_to_do_and_keeps_the_checkpoint(fake_gpu, tmp_path, monkeypatch, gpu_run):
    cut = tmp_path / "cut"
    error = fake_gpu.cuda.memory.OutOfMemoryError(3_210_000_000, 15_000_000_000)
    with monkeypatch.context() as patch:
        patch.setattr(TrainStep, "__call__", _stopped_after(5, error))
        message = refused("GPU is out of memory", "train", *FEW, "--device", "gpu", "--out", cut)
    for said in ("3.21 GB", "17.2 GB", "--batch-size", "--accumulate", "--precision bfloat16"):
        assert said in message
    assert len(metrics(cut)) == 1
    assert command("train", "--resume", cut, "--device", "gpu").status == 0
    assert (cut / "model.safetensors").read_bytes() == (gpu_run / "model.safetensors").read_bytes()


def test_other_errors_are_not_of_memory(fake_gpu):
    assert gpu.memory_error(RuntimeError("cudaErrorIllegalAddress: an illegal memory access")) is None
    assert gpu.memory_error(MemoryError("Unable to allocate 3 GiB")) is None
    for words in ("cudaErrorMemoryAllocation: out of memory", "CUBLAS_STATUS_ALLOC_FAILED"):
        assert "the GPU is out of memory: more was asked for; of its" in gpu.memory_error(RuntimeError(words))
