"""Training on a GPU: the loss of the CPU's path step by step, waits that are few, runs that stop and go on.

Without a GPU a stand-in for CuPy shows one (see fake_cupy.py), and the kernels run through cuda_on_cpu; the tests at
the end train on a real one.
"""

import re
import signal
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from on_device import device_named
from small_runs import TIMINGS, contents, metrics, process

from tinyvit.data import Augmentation, Dataset
from tinyvit.device import CPU, Device
from tinyvit.files import read_tensors
from tinyvit.models import ViT, ViTConfig
from tinyvit.training import Recipe, fit
from tinyvit.training.fit import READ_EVERY, Outcome
from tinyvit.training.run import Progress, Run
from tinyvit.training.settings import DataSettings, Settings
from tinyvit.training.step import TrainStep
from tinyvit.training.workers import Workers

CONFIG = ViTConfig(8, 4, 1, width=16, depth=1, heads=2, mlp_width=32, classes=5)
SAME_BYTES = ("model.safetensors", "best.safetensors", "config.json")


def data(count: int, seed: int = 0) -> Dataset:
    """Dark to bright images, whose class is how bright they are."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 5
    images = random.integers(0, 60, (count, 8, 8, 1)) + 45 * labels[:, None, None, None]
    return Dataset("brightness", images.astype(np.uint8), labels, tuple("abcde"))


class Watch:
    """A report that remembers how the loop came along, and acts after a step if it is told to."""

    def __init__(self, cupy: ModuleType | None = None, act=None):
        self.cupy, self.act = cupy, act
        self.steps, self.waits, self.losses = [], [], []

    def start(self, progress: Progress, steps_an_epoch: int) -> None:
        pass

    def step(self, progress: Progress) -> None:
        self.steps.append(progress.step)
        if self.cupy:
            self.waits.append(self.cupy.counts.synchronisations)
        if self.act:
            self.act(progress)

    def epoch(self, row: dict) -> None:
        self.losses.append((row["train_loss"], row["test_loss"]))


def settings(dropout: float = 0.1, **recipe) -> Settings:
    """All that is random or sums over steps, but for what is given. Without dropout the MLP is one kernel."""
    options = {
        "epochs": 2,
        "batch_size": 5,
        "learning_rate": 1e-2,
        "ema": 0.9,
        "label_smoothing": 0.1,
        "augmentation": Augmentation(flip=True, shift=1, mixup=0.2),
    }
    config = ViTConfig(**{**vars(CONFIG), "dropout": dropout, "stochastic_depth": 0.1})
    return Settings(config, Recipe(**{**options, **recipe}), DataSettings("brightness"))


def gpu(cupy: ModuleType, precision: str = "float32") -> Device:
    return Device(cupy, precision, "a fake GPU")


def train(folder: Path, device: Device, watch: Watch, *, images: int = 20, **recipe) -> Outcome:
    """Train from the start, in a new folder."""
    return fit(Run.create(folder, settings(**recipe)), data(images), data(10, seed=1), watch, device)


def go_on(folder: Path, device: Device, watch: Watch) -> Outcome:
    """Train on from where the run in ``folder`` stopped."""
    return fit(Run.open(folder), data(20), data(10, seed=1), watch, device)


def arrays_in(path: Path) -> dict:
    """Name -> shape and type of each array in a file."""
    return {name: (array.shape, array.dtype) for name, array in read_tensors(path)[0].items()}


def steps_of(device: Device, count: int, **recipe) -> list[tuple[float, float]]:
    """The loss and the gradient's norm of each of so many steps."""
    made = settings(**recipe)
    images = data(8).images.astype(np.float32) / 127.5 - 1
    images, labels = device.put(images, device.dtype), device.put(data(8).labels)
    with Workers(1) as workers:
        state = TrainStep(ViT(made.model), made.recipe, workers, device)
        results = [state(images, labels, step, 1e-2) for step in range(count)]
    return [(float(result.loss), float(result.gradient_norm)) for result in results]


@pytest.mark.parametrize("optimizer, dropout", [("adamw", 0.1), ("sgd", 0.0)])
def test_step_by_step_the_loss_is_that_of_the_cpu(fake_gpu, optimizer, dropout):
    options = {"optimizer": optimizer, "dropout": dropout}
    expected = steps_of(CPU, 8, **options)
    assert expected[-1][0] < 0.95 * expected[0][0]
    np.testing.assert_allclose(steps_of(gpu(fake_gpu), 8, **options), expected, rtol=1e-4)


def test_bfloat16_learns_as_float32_does(fake_gpu):
    expected = steps_of(CPU, 8, dropout=0.0)
    found = steps_of(gpu(fake_gpu, "bfloat16"), 8, dropout=0.0)
    np.testing.assert_allclose([loss for loss, _ in found], [loss for loss, _ in expected], rtol=2e-2)
    assert found[-1][0] < 0.95 * found[0][0]


def test_losses_are_read_once_in_twenty_steps_and_nothing_else_waits(fake_gpu, tmp_path):
    watch = Watch(fake_gpu)
    before = fake_gpu.counts.synchronisations
    train(tmp_path / "run", gpu(fake_gpu), watch, images=2 * 23, batch_size=2, epochs=1)
    assert READ_EVERY == 20 and watch.steps == [20, 23]
    assert [waits - before for waits in watch.waits] == [1, 2]
    assert not fake_gpu.counts.races


def test_a_run_leaves_the_files_and_the_numbers_of_the_cpu(fake_gpu, tmp_path):
    here, there = Watch(), Watch()
    # SGD, since AdamW divides by the gradient's size and so makes much of rounding where that is close to zero.
    train(tmp_path / "cpu", CPU, here, optimizer="sgd")
    train(tmp_path / "gpu", gpu(fake_gpu), there, optimizer="sgd")
    np.testing.assert_allclose(there.losses, here.losses, rtol=1e-4)
    cpu, on_gpu = contents(tmp_path / "cpu"), contents(tmp_path / "gpu")
    assert cpu.keys() == on_gpu.keys() and cpu["config.json"] == on_gpu["config.json"]
    for name in ("model.safetensors", "best.safetensors", "checkpoint.safetensors"):
        assert arrays_in(tmp_path / "cpu" / name) == arrays_in(tmp_path / "gpu" / name), name


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_that_is_stopped_goes_on_to_the_same_bytes(fake_gpu, tmp_path, monkeypatch, precision):
    monkeypatch.setattr(sys.modules["tinyvit.training.fit"], "READ_EVERY", 2)  # the package's `fit` is a function
    device = gpu(fake_gpu, precision)
    train(tmp_path / "alone", device, Watch(), precision=precision)

    def interrupt(progress: Progress) -> None:
        if (progress.epoch, progress.step) == (1, 2):
            signal.raise_signal(signal.SIGINT)

    stopped = train(tmp_path / "run", device, Watch(act=interrupt), precision=precision)
    assert stopped.interrupted and (stopped.progress.epoch, stopped.progress.step) == (1, 3)
    assert not go_on(tmp_path / "run", device, Watch()).interrupted
    alone, resumed = contents(tmp_path / "alone"), contents(tmp_path / "run")
    for name in SAME_BYTES:
        assert resumed[name] == alone[name], name
    assert metrics(tmp_path / "run", leave_out=TIMINGS) == metrics(tmp_path / "alone", leave_out=TIMINGS)


def test_a_checkpoint_of_a_gpu_goes_on_without_one(fake_gpu, tmp_path):
    class Stop(Exception):
        pass

    class Stopping(Watch):
        def epoch(self, row: dict) -> None:
            raise Stop

    whole = Watch()
    train(tmp_path / "cpu", CPU, whole, optimizer="sgd")
    with pytest.raises(Stop):
        train(tmp_path / "gpu", gpu(fake_gpu), Stopping(), optimizer="sgd")
    rest = Watch()
    go_on(tmp_path / "gpu", CPU, rest)
    np.testing.assert_allclose(rest.losses, whole.losses[1:], rtol=1e-4)


# On a GPU


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
@pytest.mark.parametrize("size, accuracy", [("nano", 80), ("tiny", 75)])
def test_it_learns_on_a_gpu(tmp_path, size, accuracy, precision):
    """A few hundred steps; by the CPU nano reaches 84 % in 5 epochs and tiny 84 % in 3."""
    device_named("gpu")
    epochs = {"nano": 5, "tiny": 2}[size]
    options = ("--size", size, "--epochs", epochs, "--device", "gpu", "--precision", precision)
    ended = process("train", *options, "--out", tmp_path / "run")
    assert ended.status == 0, ended
    found = float(re.search(r"^test accuracy +([\d.]+)%", ended.out, re.MULTILINE).group(1))
    assert found >= accuracy, ended.out
    evaluated = process("evaluate", tmp_path / "run", "--device", "cpu")
    on_cpu = float(re.search(r"accuracy ([\d.]+)%", evaluated.out).group(1))
    assert on_cpu == pytest.approx(found, abs=0.3), "the CPU sees the same model"


@pytest.mark.gpu
def test_a_run_on_a_gpu_gives_the_same_bytes_again(tmp_path):
    device_named("gpu")
    for name in ("one", "two"):
        options = ("--size", "nano", "--epochs", 1, "--limit-train", 2000, "--device", "gpu", "--precision", "bfloat16")
        assert process("train", *options, "--out", tmp_path / name).status == 0
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    for name in SAME_BYTES:
        assert one[name] == two[name], name
