"""Bugs planted into small kernels: cuda_on_cpu reports each, with its line, and nothing where there is none."""

import re
import shutil

import numpy as np
import pytest
from planted_bugs import DIVERGENCE, FAULTS, MEMORY, RACES, Planted

from tinyvit.kernels.cuda_on_cpu import CudaError, Module, turns_in_order
from tinyvit.kernels.gpu import attention, launch
from tinyvit.kernels.gpu.lessons import layer_norm

ORDERS = (0, 1, 2, 3)
BUGS = pytest.mark.parametrize("planted", [*RACES, *MEMORY, *DIVERGENCE], ids=lambda planted: planted.name)


def run(planted: Planted, wrong: bool, order: int) -> np.ndarray:
    function = Module.from_text(planted.text(wrong), "mine.cu").get_function("kernel")
    x, y = np.linspace(1, 2, 64, dtype=np.float32), np.zeros(64, np.float32)
    with turns_in_order(order):
        function((planted.grid,), (planted.block,), (x, y, planted.count), shared_mem=planted.shared_mem)
    return y


def check_report(planted: Planted, message: str) -> None:
    assert message.startswith("kernel: ") and planted.message in message
    assert {int(line) for line in re.findall(r"mine\.cu:(\d+)", message)} == set(planted.lines)


@BUGS
@pytest.mark.parametrize("order", ORDERS)
def test_a_planted_bug_is_reported_with_its_lines(planted, order):
    with pytest.raises(CudaError) as error:
        run(planted, True, order)
    check_report(planted, str(error.value))


@BUGS
def test_without_the_bug_every_order_gives_the_same(planted):
    results = [run(planted, False, order) for order in ORDERS]
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=1e-6)


@pytest.mark.parametrize("order", FAULTS)
def test_what_no_instrumentation_sees_faults_at_a_guard_page(order):
    with pytest.raises(CudaError) as error:
        run(FAULTS[order], True, order)
    check_report(FAULTS[order], str(error.value))
    run(FAULTS[order], False, order)


@pytest.fixture
def planted_into(tmp_path, monkeypatch):
    """Plants a bug into a copy of the project's kernels, from which the launchers then compile."""
    shutil.copytree(launch.FOLDER, tmp_path / "gpu")
    monkeypatch.setattr(launch, "FOLDER", tmp_path / "gpu")

    def plant(file: str, line: int, old: str, new: str) -> None:
        path = tmp_path / "gpu" / file
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        assert old in lines[line - 1]
        lines[line - 1] = lines[line - 1].replace(old, new)
        path.write_text("".join(lines), encoding="utf-8")

    launch._function.cache_clear(), launch._module.cache_clear()
    yield plant
    launch._function.cache_clear(), launch._module.cache_clear()


def run_layer_norm() -> None:
    x, gamma, beta = np.ones((3, 64), np.float32), np.ones(64, np.float32), np.ones(64, np.float32)
    layer_norm.a_block_a_row(x, gamma, beta, 1e-6)


def run_attention() -> None:
    attention.attention_forward(np.ones((1, 70, 3 * 16), np.float32), 1, 70)


def lines_with(file: str, text: str) -> list[int]:
    lines = (launch.FOLDER / file).read_text(encoding="utf-8").splitlines()
    return [number for number, line in enumerate(lines, 1) if text in line.split("//")[0]]


BARRIERS = [
    (run, file, line, barrier)
    for run, file in ((run_layer_norm, "layer_norm_steps.cu"), (run_attention, "attention.cu"))
    for barrier in ("__syncthreads();", "__syncwarp();")
    for line in lines_with(file, barrier)
]


@pytest.mark.parametrize("run, file, line, barrier", BARRIERS, ids=[f"{file}:{line}" for _, file, line, _ in BARRIERS])
def test_each_barrier_of_our_kernels_is_missed(planted_into, run, file, line, barrier):
    run()
    planted_into(file, line, barrier, "")
    launch._module.cache_clear(), launch._function.cache_clear()
    with pytest.raises(CudaError, match=rf"race in shared memory: block .*{file}:\d+"):
        run()


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("shared[128]", "shared[96]", r"writes at {file}:\d+ \(called at .*\) element 96 of shared, which has 96"),
        ("y += (long long)blockIdx.x * width", "y += blockIdx.x", "element .* of y, which block .*: blocks run in any"),
        ("i < width", "i <= width", r"reads at common.cuh:\d+ \(called at {place}\) element .* of x, which has 192"),
        ("tree_sum(sum", "threadIdx.x < 64 ? 0 : tree_sum(sum", "divergent __syncthreads: thread"),
        ("tree_sum(sum, shared)", "shared[threadIdx.x]", "{place} element 0 of shared: shared memory that no thread"),
        ("store(y + i", "store((T *)gamma + i", r"writes at common.cuh:\d+ \(called at {place}\) .* which is const"),
    ],
)
def test_other_bugs_in_our_kernels_are_reported(planted_into, old, new, message):
    file = "layer_norm_steps.cu"
    head = lines_with(file, "layer_norm_block_a_row")[0]
    line = next(line for line in lines_with(file, old) if line > head)
    planted_into(file, line, old, new)
    with pytest.raises(CudaError, match=message.format(file=file, place=f"{file}:{line}")):
        run_layer_norm()
