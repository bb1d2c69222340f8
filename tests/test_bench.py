"""The command bench from end to end. What it measures differs from run to run; that it measures does not."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from small_runs import command

from tinyvit.benchmark import ceilings, compare, machine, memory
from tinyvit.benchmark.process import OwnProcess, in_own_process
from tinyvit.benchmark.rows import Row, standard_rows
from tinyvit.errors import InputError
from tinyvit.models import ViTConfig, cost

MODEL = (
    "--image-size 8 --patch-size 4 --channels 1 --classes 3 --width 8 --depth 2 --heads 2 --mlp-width 16 --batch-size 4"
).split()
QUICK = [*MODEL, "--steps", "2", "--repeats", "2", "--workers", "2"]
SMALL = Row(ViTConfig(8, 4, 1, width=8, depth=2, heads=2, mlp_width=16, classes=3), 4)


@pytest.fixture(autouse=True)
def small_ceilings(monkeypatch):
    """The machine's ceilings, from arrays that are too small for true ones."""
    measured = ceilings.Ceilings(ceilings.product_rates(2, side=64), ceilings.move_rates(2, numbers=2**16), 2)
    monkeypatch.setattr("tinyvit.bench.measure_ceilings", lambda threads: measured)
    monkeypatch.setattr("tinyvit.bench.in_own_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr("tinyvit.bench.SIDE", 64)


def check_files(folder, names) -> dict:
    """The folder holds these files and nothing else; gives results.json."""
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    for name in names:
        if name.endswith(".png"):
            with Image.open(folder / name) as image:
                assert np.asarray(image.convert("L")).std() > 5
    return json.loads((folder / "results.json").read_text())


def test_without_pytorch(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "torch_version", lambda: "")
    ended = command("bench", *QUICK, "--out", tmp_path / "b")
    assert ended.status == 0 and ended.err == ""
    assert re.search(r"^PyTorch +is not installed.*pip install torch", ended.out, re.MULTILINE)
    assert "last block computes 1 of 5 tokens" in ended.out
    for said in ("width 8, depth 2, 8/4, batch 4", "training", "inference", "matrix products", "2 workers", "images/s"):
        assert said in ended.out, said
    assert re.search(r"^ +tinyvit +\d+\.\d +\d+\.\d +\d+ MB \(\d+ MB\)$", ended.out, re.MULTILINE)
    assert re.search(r"^ +mlp_backward +\d+\.\d\d +\d+\.\d% +4 ", ended.out, re.MULTILINE)

    results = check_files(tmp_path / "b", ["results.json", "roofline.png", "kernels.png"])
    assert [row["task"] for row in results["rows"]] == ["training", "inference"]
    for row in results["rows"]:
        assert row["ratios"] == {} and len(row["seconds_a_step"]["tinyvit"]) == 2
        assert sum(part["share"] for part in row["breakdown"]) == pytest.approx(1)
        assert row["memory_bytes"]["tinyvit"]["peak"] > row["memory_bytes"]["tinyvit"]["net"] >= 0
    names = {part["name"] for part in results["rows"][1]["breakdown"]}
    assert not any("backward" in name for name in names) and "adamw_step" not in names


@pytest.mark.parity
def test_next_to_pytorch(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="compares with PyTorch (extra `parity`)")
    # Each process that imports PyTorch takes seconds to start; one is enough.
    monkeypatch.setattr(compare, "in_own_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr("tinyvit.bench.TASKS", ["training"])
    threads = torch.get_num_threads()
    # With two threads on a busy machine, PyTorch's would mostly wait for each other.
    ended = command("bench", *QUICK, "--workers", "1", "--out", tmp_path / "b")
    torch.set_num_threads(threads)
    assert ended.status == 0 and ended.err == ""
    assert "the same model in PyTorch: logits differ by" in ended.out
    assert len(re.findall(r"^ +PyTorch .* MB\) +(\d+\.\d\d) \(\d+\.\d\d \d+\.\d\d\)$", ended.out, re.MULTILINE)) == 1
    results = check_files(tmp_path / "b", ["results.json", "roofline.png", "kernels.png", "ratios.png"])
    for row in results["rows"]:
        ours, theirs = row["seconds_a_step"]["tinyvit"], row["seconds_a_step"]["PyTorch"]
        expected = [b / a for a, b in zip(ours, theirs, strict=True)]
        assert row["ratios"]["PyTorch"] == pytest.approx(expected)
        assert row["median_ratio"]["PyTorch"] == pytest.approx(np.median(expected))


@pytest.mark.parity
@pytest.mark.parametrize("changes", [{}, {"pool": "mean"}, {"gelu": "exact", "channels": 3}], ids=str)
def test_the_pytorch_model_is_the_same(changes):
    torch = pytest.importorskip("torch", reason="compares with PyTorch (extra `parity`)")
    from tinyvit.benchmark.torch_model import TorchViT, differences, optimizer

    config = ViTConfig(**{**vars(SMALL.config), **changes})
    before = torch.get_num_threads()
    logits, gradients = differences(Row(config, 4))
    torch.set_num_threads(before)
    assert logits < 1e-5 and gradients < 1e-4
    network = TorchViT(config)
    assert sum(p.numel() for p in network.parameters()) == cost(config).parameters
    decayed = {
        id(p) for group in optimizer(network, 1e-3, 0.1).param_groups if group["weight_decay"] for p in group["params"]
    }
    matrices = [p for name, p in network.named_parameters() if p.ndim >= 2 and name not in ("class_token", "position")]
    assert decayed == {id(p) for p in matrices}


def test_models_that_differ_are_not_compared(monkeypatch):
    for logits, gradients in ((1e-3, 0.0), (0.0, 0.1), (float("nan"), 0.0)):
        monkeypatch.setattr(compare, "in_own_process", lambda *_, found=(logits, gradients): ([found], 1.0))
        with pytest.raises(InputError, match="other logits"):
            compare.meet_torch([SMALL], 2, 64)


@pytest.mark.parametrize(
    "options, expected",
    [
        ("--size tinny", r"unknown size 'tinny': did you mean 'tiny'"),
        ("--patch-size 5", r"patch size 5 does not divide image size 8"),
        ("--heads 3", r"3 heads do not divide width 8"),
        ("--batch-size 0", r"batch-size is 0"),
        ("--classes 0", r"classes is 0"),
        ("--workers 0", r"0 workers"),
        ("--repeats 0", r"repeats is 0"),
        ("--steps 0", r"steps is 0"),
        ("--pool max", r"unknown pool 'max'"),
        ("--no-torch --compile", r"--compile measures PyTorch: leave out --no-torch"),
        ("--repeats many", r"--repeats.*'many'.*--help"),
    ],
)
def test_bad_input(tmp_path, options, expected):
    message = command("bench", *QUICK, "--out", tmp_path / "b", *options.split()).message
    assert re.search(expected, message), message
    assert not list(tmp_path.iterdir())


def test_out_where_no_folder_can_be(tmp_path):
    (tmp_path / "file").write_text("")
    message = command("bench", *QUICK, "--out", tmp_path / "file" / "b").message
    assert re.search(r"cannot make folder .*file/b", message), message


def test_compile_without_pytorch(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "torch_version", lambda: "")
    message = command("bench", *QUICK, "--compile", "--out", tmp_path / "b").message
    assert re.search(r"--compile measures PyTorch: install it", message), message


# The parts


def test_standard_rows():
    shapes = [(row.config.width, row.config.depth, row.config.tokens, row.batch_size) for row in standard_rows()]
    assert shapes == [(192, 12, 197, 16), (192, 12, 17, 128), (64, 4, 17, 128), (192, 9, 65, 64)]
    images, labels = SMALL.batch()
    assert images.shape == (4, 8, 8, 1) and images.dtype == np.float32 and -1 <= images.min() < 0 < images.max() <= 1
    assert labels.shape == (4,)
    np.testing.assert_array_equal(images, SMALL.batch()[0])


def test_ceilings():
    measured = ceilings.Ceilings({"x W": 90.0, "dy W^T": 100.0}, {"copy": 20.0, "add": 10.0}, 2)
    assert (measured.gflops, measured.bandwidth) == (100, 20)
    assert measured.gflops_at(2) == 40 and measured.gflops_at(50) == 100


class Keeper:
    """Something that another process can hold."""

    def __init__(self, size: int):
        self.before = memory.peak_bytes()
        self.array = np.ones(size, np.uint8)

    def grown(self) -> int:
        return memory.peak_bytes() - self.before

    def fails(self) -> None:
        raise ValueError("as it should")

    def is_killed(self) -> None:
        import os

        os._exit(9)


def test_another_process_has_its_own_memory():
    with OwnProcess(Keeper, 50_000_000) as other:
        assert 45e6 < other.call("grown") < 80e6
        with pytest.raises(ValueError, match="as it should"):
            other.call("fails")


def test_a_process_that_is_killed():
    with OwnProcess(Keeper, 1) as other, pytest.raises(InputError, match=r"killed.*smaller batch"):
        other.call("is_killed")


def test_the_peak_is_not_the_parents():
    ballast = np.ones(300_000_000, np.uint8)
    assert in_own_process(memory.peak_bytes) < 250e6
    del ballast
