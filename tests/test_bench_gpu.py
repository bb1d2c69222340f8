"""python -m tinyvit.bench --device gpu, as far as it needs no GPU; the command on a real one is marked gpu."""

import itertools
import json
import re

import numpy as np
import pytest
from bench_gpu_here import prepare, torch_on_cpu
from on_device import device_named
from PIL import Image
from small_runs import command, process

from tinyvit import gpu
from tinyvit.benchmark import machine
from tinyvit.benchmark.breakdown import REST, Part
from tinyvit.benchmark.compare import COMPILED, EAGER, OURS
from tinyvit.benchmark.on_gpu import agreement, report
from tinyvit.benchmark.on_gpu.agreement import Agreement, Errors
from tinyvit.benchmark.on_gpu.card import Card, driver_version, readable
from tinyvit.benchmark.on_gpu.clocks import CALLS, seconds_a_call
from tinyvit.benchmark.on_gpu.compare import GPUMeasured, GPUPlan
from tinyvit.benchmark.on_gpu.memory import peak_bytes
from tinyvit.benchmark.on_gpu.sides import told_plainly
from tinyvit.benchmark.on_gpu.timing import Sizes, Timing
from tinyvit.benchmark.rows import gpu_rows
from tinyvit.benchmark.work import Work
from tinyvit.errors import InputError

# nano with 4 patches: what test_cuda_training_step.py compiles serves here, too.
MODEL = "--size nano --depth 1 --image-size 28 --patch-size 14 --channels 1 --classes 3 --batch-size 3".split()
QUICK = [*MODEL, "--steps", "1", "--repeats", "2"]
NAME = "width 64, depth 1, 28/14, batch 3"


@pytest.fixture
def bench_gpu(fake_gpu, monkeypatch):
    """A stand-in for a GPU on which the benchmark runs, in this process and in no time."""
    prepare(fake_gpu, monkeypatch)
    return fake_gpu


def check_files(folder, names) -> dict:
    """The folder holds these files and nothing else; gives results.json."""
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    for name in names:
        if name.endswith(".png"):
            with Image.open(folder / name) as image:
                assert np.asarray(image.convert("L")).std() > 5
    return json.loads((folder / "results.json").read_text())


# The whole command


def test_without_pytorch(bench_gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "torch_version", lambda: "")
    ended = command("bench", "--device", "gpu", *QUICK, "--precision", "float32", "--out", tmp_path / "b")
    assert ended.status == 0 and ended.err == "", ended
    for said in (
        "GPU        a fake GPU, 17 GB, compute capability 9.0, driver",
        "for CUDA 13.1",
        "float32, CuPy 14.2.0 with CUDA 13.2",
        "PyTorch    is not installed",
        "layer norm: a_warp_a_row, float32",
        "attention: a_thread_a_query, float32",
        "matmul: matmul_naive, float32",
        f"{NAME}: qkv, x^T dy",
    ):
        assert said in ended.out, said
    assert "bfloat16" not in ended.out and "tensor_cores" not in ended.out
    assert re.search(r"^ +tinyvit +\d+ +\d+\.\d\d +\d+\.\d\d +0.00 GB \(0.00 GB\) +\d\.\d+$", ended.out, re.MULTILINE)
    results = check_files(tmp_path / "b", ["results.json", "roofline.png", "kernels.png"])
    assert results["agreement"] == [] and results["rows"][0]["ratios"] == {}
    assert results["plan"] == {**results["plan"], "precision": "float32", "opponents": [], "number": 0}


@pytest.mark.parity
def test_next_to_pytorch(bench_gpu, tmp_path, monkeypatch):
    torch_on_cpu(monkeypatch)
    ended = command("bench", "--device", "gpu", *QUICK, "--out", tmp_path / "b")
    assert ended.status == 0 and ended.err == "", ended
    out = ended.out
    parts = ["Loss and gradients", "Python takes to queue", "Matrix products", "Attention", "lessons", "images/s"]
    assert sorted(parts, key=out.index) == parts, "the checks that decide come first"
    for precision in ("float32", "bfloat16"):
        assert f"attention: shared_tiles, {precision}" in out
    assert "matmul: matmul_tensor_cores, bfloat16" in out and "autocast to bfloat16" in out

    results = check_files(tmp_path / "b", ["results.json", "roofline.png", "kernels.png", "ratios.png"])
    assert results["card"] == {**results["card"], "name": "a fake GPU", "cupy": "14.2.0", "cuda": "13.2"}
    assert results["machine"]["torch"]
    assert [one["precision"] for one in results["agreement"]] == ["float32", "bfloat16"]
    assert all(0 < one["ours"]["gradient"] < 0.05 for one in results["agreement"])
    (row,) = results["rows"]
    for side, opponent in itertools.product((OURS, EAGER, COMPILED), (EAGER, COMPILED)):
        assert row["losses"][side] == pytest.approx(np.log(3), rel=1e-3)
        assert len(row["seconds_a_step"][side]) == len(row["ratios"][opponent]) == 2
    assert row["memory_bytes"][OURS] == {"allocated": 1024, "reserved": 0}
    assert row["memory_bytes"][EAGER] == {"allocated": 2_000_000_000, "reserved": 3_000_000_000}
    assert sum(part["share"] for part in row["breakdown"]) == pytest.approx(1)
    by_name = {part["name"]: part for part in row["breakdown"]}
    assert by_name["attention_forward"]["calls"] == 1 and by_name["layer_norm_forward"]["flop"] > 0

    # Where both libraries do the same they say so by the same name, and only there is a ratio.
    ours, theirs = (results["kernels"][side] for side in (OURS, EAGER))
    for group in ("products", "ceilings", "layer norm"):
        assert ours[group].keys() == theirs[group].keys()
    assert ours["attention"].keys() < theirs["attention"].keys() and "lessons" not in theirs
    for group in ("products", "ceilings", "attention", "layer norm"):
        for name in ours[group].keys() & theirs[group].keys():
            mine, other = ours[group][name], theirs[group][name]
            assert (mine["flop"], mine["bytes"]) == (other["flop"], other["bytes"]) != (0, 0), name


# What cannot be measured


def test_without_a_gpu(monkeypatch, tmp_path):
    def none():
        raise gpu.NoGPU("no NVIDIA GPU: install one")

    monkeypatch.setattr(gpu, "find_gpus", none)
    message = command("bench", "--device", "gpu", "--out", tmp_path / "b").message
    assert message == "device 'gpu': no NVIDIA GPU: install one"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options, expected",
    [
        ("--device tpu", r"unknown device 'tpu'"),
        ("--device gpu:7", r"there is no GPU 7: choose gpu:0"),
        ("--precision float16", r"unknown precision 'float16'"),
        ("--device cpu --precision bfloat16", r"'bfloat16' is for GPUs"),
        ("--workers 2", r"--workers 2 is for the CPU"),
        ("--size tinny", r"unknown size 'tinny'"),
        ("--batch-size 0", r"batch-size is 0"),
        ("--repeats 0", r"repeats is 0"),
        ("--steps 0", r"steps is 0"),
        ("--no-torch --compile", r"leave out --no-torch"),
    ],
)
def test_bad_input(bench_gpu, tmp_path, options, expected):
    message = command("bench", "--device", "gpu", *QUICK, *options.split(), "--out", tmp_path / "b").message
    assert re.search(expected, message), message
    assert not list(tmp_path.iterdir())


@pytest.mark.parity
def test_a_pytorch_without_cuda(bench_gpu, tmp_path):
    torch = pytest.importorskip("torch", reason="compares with PyTorch (extra `parity`)")
    if torch.cuda.is_available():
        pytest.skip("this PyTorch can use the GPU")
    message = command("bench", "--device", "gpu", *QUICK, "--out", tmp_path / "b").message
    assert re.search(r"PyTorch .*(CUDA|GPU): install a build that can, or give --no-torch", message), message


@pytest.mark.parity
@pytest.mark.parametrize("broken", ["blocks.0.norm1.beta", "head.weight"])
def test_a_wrong_gradient_is_not_timed(bench_gpu, tmp_path, monkeypatch, broken):
    torch_on_cpu(monkeypatch)
    right = agreement.our_gradients

    def wrong(*arguments):
        loss, gradients = right(*arguments)
        return loss, {**gradients, broken: 2 * gradients[broken]}

    monkeypatch.setattr(agreement, "our_gradients", wrong)
    options = (*QUICK, "--precision", "float32")
    message = command("bench", "--device", "gpu", *options, "--out", tmp_path / "b").message
    assert broken in message and "timing it would mean nothing" in message


@pytest.mark.parametrize("field", ["loss", "gradient", "worst"])
@pytest.mark.parametrize("wrong", [1.0, float("nan")])
def test_agreement_holds_only_where_all_errors_are_small(field, wrong):
    small = Errors(1e-7, 1e-7, 1e-7, "x")
    assert Agreement("tiny", "float32", small, small).holds
    bad = Errors(**{**vars(small), field: wrong})
    assert not Agreement("tiny", "float32", bad, small).holds
    assert Agreement("tiny", "float32", small, bad).holds  # PyTorch's own errors decide nothing


def test_errors():
    right = (2.0, {"a": np.array([3.0, 4.0]), "b": np.array([[12.0]])})
    found = (2.5, {"a": np.array([3.0, 5.0]), "b": np.array([[12.0]])})
    assert agreement.errors(found, right) == Errors(0.25, pytest.approx(1 / 13), pytest.approx(1 / 5), "a")


class OutOfMemoryError(RuntimeError):
    """Of the name of PyTorch's."""


class InductorError(RuntimeError):
    __module__ = "torch._inductor.exc"


def test_errors_of_the_libraries_are_told_plainly():
    with pytest.raises(MemoryError, match=r"the GPU is out of memory: Tried to allocate 2 GiB"), told_plainly():
        raise OutOfMemoryError("Tried to allocate 2 GiB")
    with pytest.raises(InputError, match=r"^torch.compile failed .*no compiler\): --no-compile"), told_plainly():
        raise InductorError("no compiler\nand much more")
    with pytest.raises(ZeroDivisionError), told_plainly():
        raise ZeroDivisionError


# The parts


def test_rows_and_sizes():
    assert [(row.size, row.batch_size, row.config.tokens) for row in gpu_rows()] == [
        ("tiny", 256, 197),
        ("small", 256, 197),
    ]
    sizes = Sizes.of(gpu_rows()[1])
    assert sizes.rows == 256 * 197 and sizes.width == 64 * sizes.heads
    shapes = [(384, 1152), (384, 384), (384, 1536), (1536, 384)]
    assert [(inputs, outputs) for _, inputs, outputs in sizes.products()] == shapes
    assert sizes.attention_flop == 2 * 256 * sizes.heads * 197 * 197 * 64


@pytest.mark.parametrize(
    "text, expected",
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n", "535.129.03"),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\nGCC 12.2.0\n",
            "580.65.06",
        ),
        ("something else", ""),
    ],
)
def test_driver_version(tmp_path, text, expected):
    (tmp_path / "version").write_text(text)
    assert driver_version(tmp_path / "version") == expected
    assert driver_version(tmp_path / "missing") == ""


def test_versions_of_cuda():
    assert (readable(13020), readable(12090), readable(11080)) == ("13.2", "12.9", "11.8")


class SlowClock:
    """A GPU on which each call takes 3 ms of its time, and none of ours."""

    def __init__(self):
        self.now, self.log = 0.0, []

    def call(self) -> None:
        self.now += 3e-3
        self.log.append("call")

    def synchronize(self) -> None:
        self.log.append("wait")

    def spin(self, seconds: float) -> None:
        assert seconds > 0
        self.now += 1
        self.log.append("spin")

    def mark(self) -> float:
        self.log.append("mark")
        return self.now

    def seconds(self, start: float, end: float) -> float:
        return end - start


def test_a_call_is_timed_between_marks_behind_a_wait():
    clock = SlowClock()
    assert seconds_a_call(clock.call, clock) == pytest.approx(3e-3)
    last_round = clock.log[-CALLS - 4 :]
    assert last_round == ["spin", "mark", *["call"] * CALLS, "mark", "wait"]
    assert clock.log[0] == "call", "the first call, which compiles, comes before all"


def test_the_most_memory_of_a_step(bench_gpu):
    assert peak_bytes(bench_gpu, lambda: None) == 1024


def canned() -> GPUMeasured:
    row = gpu_rows()[0]
    parts = [Part("attention_forward", 12, 2e-3, 0.2, Work(10**12, 10**9)), Part(REST, 0, 8e-3, 0.8)]
    return GPUMeasured(
        row,
        "training",
        50,
        {OURS: [0.010, 0.012, 0.010], EAGER: [0.012, 0.012, 0.013], COMPILED: [0.008, 0.009, 0.008]},
        memory={side: {"allocated": 5 * 10**9, "reserved": 6 * 10**9} for side in (OURS, EAGER, COMPILED)},
        queueing={OURS: 0.004, EAGER: 0.009, COMPILED: 0.002},
        losses={OURS: 6.9081, EAGER: 6.908, COMPILED: 6.908},
        parts=parts,
    )


def test_the_table_from_known_numbers():
    plan = GPUPlan(1, 3, 50, (EAGER, COMPILED), 0, "bfloat16")
    lines = report.results(canned()).splitlines()
    assert lines[1].split() == ["tinyvit", "25,600", "10.00", "4.00", "5.00", "GB", "(6.00", "GB)", "6.9081"]
    assert lines[2].endswith("6.9080   1.20 (1.20 1.00 1.30)")
    assert lines[3].endswith("6.9080   0.80 (0.80 0.75 0.80)")
    row = report.summary([canned()], plan).splitlines()[1]
    assert re.split(r"  +", row) == [
        "tiny, 224/16, batch 256", "25,600", "5.00 GB", "21,333", "5.00 GB", "1.20", "32,000", "5.00 GB", "0.80",
    ]  # fmt: skip
    card = Card("NVIDIA H100", "9.0", 80 * 10**9, "580.65.06", "13.0", "13.2", "14.2.0")
    here = machine.Machine.here()
    header = report.header(card, here, plan)
    assert header.startswith(
        "GPU        NVIDIA H100, 80 GB, compute capability 9.0, driver 580.65.06 (for CUDA 13.0)\n"
    )
    timings = {"ceilings": {"8 x 8 x 8, x W": Timing(1e-3, 10**12), "copy": Timing(1e-3, bytes=3 * 10**9)}}
    results = json.loads(json.dumps(report.as_json(card, here, plan, [], timings, {}, [canned()])))
    assert results["rows"][0]["median_ratio"] == {EAGER: pytest.approx(1.2), COMPILED: pytest.approx(0.8)}
    assert results["card"]["driver"] == "580.65.06"
    ceilings = report.ceilings_of(timings)
    assert ceilings.gflops == pytest.approx(1e6) and ceilings.bandwidth == pytest.approx(3e3)


def test_kernels_next_to_each_other_from_known_numbers():
    ours = {"attention": {"forward": Timing(1e-4, 5 * 10**10), "alone": Timing(2e-4)}}
    theirs = {"attention": {"forward": Timing(2e-4, 5 * 10**10), "other": Timing(3e-6, bytes=6000)}}
    lines = [line.split() for line in report.timings(ours, theirs).splitlines()]
    assert ["forward", "100.0", "500.0", "TFLOP/s", "200.0", "250.0", "TFLOP/s", "2.00"] in lines
    assert ["alone", "200.0"] in lines and ["other", "3.0", "2", "GB/s"] in lines


# On a GPU


@pytest.mark.gpu
def test_on_a_gpu(tmp_path):
    device_named("gpu")
    try:
        import torch

        alone = not torch.cuda.is_available()
    except ImportError:
        alone = True
    model = "--image-size 32 --patch-size 8 --width 128 --depth 2 --heads 2 --mlp-width 256 --batch-size 32"
    options = (*model.split(), "--steps", "3", "--repeats", "2", *(["--no-torch"] if alone else []))
    ended = process("bench", "--device", "gpu", *options, "--out", tmp_path / "b")
    assert ended.status == 0, ended
    results = json.loads((tmp_path / "b" / "results.json").read_text())
    assert results["card"]["driver_cuda"] and results["rows"][0]["memory_bytes"][OURS]["allocated"] > 1e6
    assert len(results["agreement"]) == (0 if alone else 2)
