"""Bugs planted into small kernels: cuda_on_cpu reports each, with its line, and nothing where there is none."""

import re

import numpy as np
import pytest
from planted_bugs import DIVERGENCE, FAULTS, MEMORY, RACES, Planted

from tinyvit.kernels.cuda_on_cpu import CudaError, Module, turns_in_order

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
