"""python -m tinyvit.doctor: it says what is missing and what to do, and never breaks itself."""

import builtins
import ctypes
import importlib.metadata
import re
import subprocess
import sys
import types

import pytest
from small_runs import command, process

from tinyvit import doctor
from tinyvit.diagnosis import driver, gpu, machine, training
from tinyvit.diagnosis.probe import Broken, Missing, run
from tinyvit.kernels.gpu import headers

ALL = {**doctor.MACHINE, **doctor.GPU, **doctor.TRAINING, **doctor.TENSOR_CORES}


class FakeDriver:
    """NVIDIA's driver as ctypes sees it, with two GPUs."""

    def __init__(self, cuda: int = 13020, status: int = 0):
        self.cuda, self.status = cuda, status

    def cuInit(self, flags) -> int:
        return self.status

    def cuDriverGetVersion(self, version) -> None:
        version._obj.value = self.cuda

    def cuDeviceGetCount(self, count) -> None:
        count._obj.value = 2

    def cuDeviceGet(self, device, number) -> None:
        device._obj.value = number

    def cuDeviceGetName(self, name, length, device) -> None:
        name.value = b"NVIDIA fake %d" % device.value

    def cuDeviceTotalMem_v2(self, size, device) -> None:
        size._obj.value = 80 * 10**9

    def cuDeviceGetAttribute(self, value, attribute, device) -> None:
        value._obj.value = {75: 9, 76: 0}[attribute]


@pytest.fixture
def with_driver(monkeypatch):
    """Makes a driver of NVIDIA's appear, or fail."""

    def install(**options) -> None:
        monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeDriver(**options))

    return install


@pytest.fixture
def no_driver(monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(driver.ctypes, "CDLL", missing)


def cupy_packages(monkeypatch, *names: str) -> None:
    """Makes it seem that these packages of CuPy's are installed."""
    real = importlib.metadata.version

    def version(name: str) -> str:
        if not name.startswith("cupy"):
            return real(name)
        if name not in names:
            raise importlib.metadata.PackageNotFoundError(name)
        return "14.2.0"

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_on_this_machine_it_trains_on_the_cpu():
    ended = process("doctor")
    assert ended.status == 0 and ended.err == ""
    for name in doctor.MACHINE | doctor.GPU | doctor.TRAINING:
        assert re.search(rf"^  (ok|missing|broken) +{re.escape(name)} +\S.*$", ended.out, re.MULTILINE), name
    assert "ok       on the CPU    works in float32" in ended.out
    assert ended.out.splitlines()[-1].startswith("tinyvit can train on the CPU")


@pytest.mark.parametrize("error", [RuntimeError("two\nlines"), ImportError(), OSError(2, "gone"), KeyError("key")])
def test_whatever_a_probe_raises_is_what_it_found(error):
    def probe():
        raise error

    state, (line,) = run(probe)
    assert state == "broken" and line.startswith(type(error).__name__) and "\n" not in line


def test_a_long_story_is_cut():
    def probe():
        raise Missing("x" * 1000, "install it")

    state, (line,) = run(probe)
    assert state == "missing" and line.endswith("…: install it") and len(line) < 250


def test_nothing_that_is_broken_breaks_it(monkeypatch):
    """Every import from within a probe fails, and every program and library is missing."""

    def fail(*_, **__):
        raise OSError("everything is broken")

    with monkeypatch.context() as patch:
        for module, name in ((subprocess, "run"), (ctypes, "CDLL"), (machine.os, "sysconf")):
            patch.setattr(module, name, fail)
        patch.setattr(importlib, "import_module", fail)
        patch.setattr(builtins, "__import__", fail)
        states = {name: run(probe)[0] for name, probe in ALL.items()}
    assert states.pop("Python") == "ok" and set(states.values()) <= {"missing", "broken"}, states


def test_without_anything_that_trains_the_status_is_1(monkeypatch):
    def fail():
        raise Broken("no", "nothing")

    monkeypatch.setattr(doctor, "TRAINING", {"on the CPU": fail, "on a GPU": fail})
    ended = command("doctor")
    assert ended.status == 1 and "tinyvit cannot train here" in ended.out


@pytest.mark.parametrize("losses", [(1.7, 1.6), (1.609, 1.61), (float("nan"), float("nan"))])
def test_wrong_numbers_are_found(monkeypatch, losses):
    from tinyvit.training import step

    monkeypatch.setattr(step, "read", lambda results: [types.SimpleNamespace(loss=loss) for loss in losses])
    state, (line,) = run(training.on_cpu)
    assert state == "broken" and f"CPU computes losses of {losses[0]} and {losses[1]} in float32" in line


# The driver


def test_the_driver_and_its_gpus(with_driver):
    with_driver()
    assert run(driver.driver) == ("ok", ["for CUDA up to 13.2"])
    _, lines = run(driver.gpus)
    assert lines == [f"gpu:{i} is NVIDIA fake {i}, 80.0 GB, compute capability 9.0" for i in range(2)]


@pytest.mark.parametrize(
    "options, state, said",
    [
        ({"cuda": 11080}, "broken", "takes CUDA up to 11.8: install one for CUDA 12.0"),
        ({"status": 100}, "missing", "CUDA_VISIBLE_DEVICES"),
        ({"status": 999}, "broken", "does not start (error 999)"),
    ],
)
def test_a_driver_that_does_not_do(with_driver, options, state, said):
    with_driver(**options)
    found, (line,) = run(driver.driver)
    assert found == state and said in line


def test_no_driver(no_driver):
    assert run(driver.driver)[0] == run(driver.gpus)[0] == "missing"


# CuPy and what it loads


def test_no_cupy(monkeypatch, no_driver):
    cupy_packages(monkeypatch)
    monkeypatch.setitem(sys.modules, "cupy", None)
    state, (line,) = run(gpu.cupy)
    assert state == "missing" and "pip install -e '.[cuda13]'" in line
    assert run(gpu.nvrtc)[0] == run(gpu.cublas)[0] == "missing"


@pytest.mark.parametrize("cuda, extra", [(13000, "cuda13"), (12080, "cuda12")])
def test_the_advice_fits_the_driver(monkeypatch, with_driver, cuda, extra):
    cupy_packages(monkeypatch)
    monkeypatch.setitem(sys.modules, "cupy", None)
    with_driver(cuda=cuda)
    assert f"pip install -e '.[{extra}]'" in run(gpu.cupy)[1][0]


def test_two_cupys_are_an_error(monkeypatch, fake_gpu):
    cupy_packages(monkeypatch, "cupy-cuda12x", "cupy-cuda13x")
    state, (line,) = run(gpu.cupy)
    assert state == "broken" and "pip uninstall cupy-cuda13x cupy-cuda12x" in line


def test_a_cupy_for_another_driver(monkeypatch, fake_gpu, with_driver):
    cupy_packages(monkeypatch, "cupy-cuda13x")
    monkeypatch.setattr(fake_gpu.cuda.runtime, "runtimeGetVersion", lambda: 13020, raising=False)
    with_driver(cuda=13000)
    assert run(gpu.cupy) == ("ok", ["14.2.0 for CUDA 13"])
    with_driver(cuda=12080)
    state, (line,) = run(gpu.cupy)
    assert state == "broken"
    assert "CUDA 13.2, the driver for 12.8: pip uninstall cupy-cuda13x, then pip install -e '.[cuda12]'" in line


def test_libraries_that_are_not_found(fake_gpu):
    """The stand-in has neither, and so raises an error of another kind than CuPy: all kinds mean the same."""
    for probe in (gpu.nvrtc, gpu.cublas):
        state, (line,) = run(probe)
        assert state == "missing" and "pip install -e" in line


def test_libraries_that_are_found(fake_gpu):
    fake_gpu.cuda.nvrtc, fake_gpu.cuda.cublas = types.SimpleNamespace(getVersion=lambda: (13, 0)), object()
    assert run(gpu.nvrtc) == ("ok", ["13.0"]) and run(gpu.cublas)[0] == "ok"


def test_headers_may_lie_in_several_folders(monkeypatch, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    (other / "crt").mkdir(parents=True)
    one.mkdir()
    monkeypatch.setattr(headers, "header_folders", lambda: (str(one), str(other)))
    for path in (one / "cuda_bf16.h", one / "mma.h", other / "crt" / "mma.h"):
        state, (line,) = run(gpu.headers)
        assert state == "missing" and f"{path.name} is not found" in line
        path.touch()
    assert run(gpu.headers)[0] == "ok"


# The rest


def test_a_package_that_is_missing_or_broken(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert run(machine.packages) == ("missing", ["tqdm is not installed: pip install tqdm"])


def test_no_compiler(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    state, (line,) = run(machine.cpp_compiler)
    assert state == "missing" and "install g++ or clang++" in line
    monkeypatch.undo()
    monkeypatch.setenv("CXX", "false")
    assert run(machine.cpp_compiler)[0] == "broken"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gpu_that_trains(fake_gpu, precision):
    assert run(lambda: training.on_gpu(precision)) == ("ok", [f"a fake GPU works in {precision}"])


def test_a_gpu_that_does_not_work(fake_gpu, monkeypatch):
    def fail(*_):
        raise ImportError("no libcublas.so.13")

    monkeypatch.setattr(fake_gpu, "RawKernel", fail)
    state, (line,) = run(training.on_gpu)
    assert state == "broken" and "no libcublas.so.13" in line and "doctor" not in line
