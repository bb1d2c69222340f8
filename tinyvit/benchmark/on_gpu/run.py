"""The whole comparison on a GPU, in the order in which it decides: agreement, kernels, training."""

import json
from pathlib import Path

from tinyvit.benchmark.figures import draw_parts, draw_ratios, draw_rooflines
from tinyvit.benchmark.machine import Machine
from tinyvit.benchmark.on_gpu import report
from tinyvit.benchmark.on_gpu.agreement import check_agreement, refuse_disagreement
from tinyvit.benchmark.on_gpu.card import Card
from tinyvit.benchmark.on_gpu.compare import GPUPlan, measure_on_gpu
from tinyvit.benchmark.on_gpu.our_kernels import time_our_kernels
from tinyvit.benchmark.on_gpu.timing import Sizes, Timings
from tinyvit.benchmark.process import in_own_process
from tinyvit.benchmark.report import breakdown_table
from tinyvit.benchmark.rows import Row
from tinyvit.files import write_text


def run(rows: list[Row], card: Card, machine: Machine, plan: GPUPlan, folder: Path) -> None:
    """Measure, print, and write results.json and the figures to ``folder``.

    Raises:
        InputError: tinyvit and PyTorch disagree, or PyTorch cannot use the GPU.
        MemoryError: the GPU has not enough of it.
    """
    print(report.header(card, machine, plan))
    agreements = check_agreement(rows, plan.number, plan.precision) if plan.opponents else []
    if agreements:
        print(f"\n{report.agreement(agreements)}")
        refuse_disagreement(agreements)

    sizes = [Sizes.of(row) for row in rows]
    ours = in_own_process(time_our_kernels, sizes, plan.number, plan.precision)
    theirs = in_own_process(_time_torch_kernels, sizes, plan.number, plan.precision) if plan.opponents else {}
    print(f"\n{report.timings(ours, theirs)}")
    ceilings = report.ceilings_of(ours)

    done = []
    for row in rows:
        print(f"\n{row.name}")
        done.append(measure_on_gpu(row, plan))
        print(report.results(done[-1]))
        print(breakdown_table(done[-1].parts, ceilings))

    print(f"\n{card.name}\n{report.summary(done, plan)}")
    results = report.as_json(card, machine, plan, agreements, ours, theirs, done)
    write_text(folder / "results.json", json.dumps(results, indent=1) + "\n")
    draw_rooflines(done, ceilings, folder / "roofline.png")
    draw_parts(done, folder / "kernels.png")
    written = ["results.json", "roofline.png", "kernels.png"]
    if plan.opponents:
        draw_ratios(done, plan.opponents, folder / "ratios.png")
        written.append("ratios.png")
    print(f"\nin {folder}: {', '.join(written)}")


def _time_torch_kernels(sizes: list[Sizes], number: int, precision: str) -> Timings:
    from tinyvit.benchmark.on_gpu.torch_kernels import time_torch_kernels  # in the other process

    return time_torch_kernels(sizes, number, precision)
