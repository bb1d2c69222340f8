"""The measurement on a GPU as text and as JSON."""

import dataclasses

from tinyvit.benchmark.ceilings import Ceilings
from tinyvit.benchmark.compare import COMPILED, EAGER, OURS
from tinyvit.benchmark.machine import Machine
from tinyvit.benchmark.on_gpu.agreement import Agreement
from tinyvit.benchmark.on_gpu.card import Card
from tinyvit.benchmark.on_gpu.compare import GPUMeasured, GPUPlan
from tinyvit.benchmark.on_gpu.timing import Timing, Timings
from tinyvit.benchmark.report import parts_as_json

PRECISION_IN_TORCH = {
    "float32": "float32 without TF32",
    "tf32": "float32 with TF32 products",
    "bfloat16": "autocast to bfloat16 over float32 parameters",
}
TITLES = {
    "launches": "What Python takes to queue a kernel",
    "ceilings": "What nothing is faster than",
    "products": "Matrix products of a block's linear layers",
    "attention": "Attention (FLOP of the 2 products forward and 4 backward)",
    "layer norm": "Layer norm (bytes that must move)",
    "lessons": "The lessons' steps, and what training uses",
}
"""Group of timings -> what it is called, in the order of the report."""


def header(card: Card, machine: Machine, plan: GPUPlan) -> str:
    """Where it is measured, and how."""
    driver = f"driver {card.driver}".rstrip() + f" (for CUDA {card.driver_cuda})"
    lines = [
        f"GPU        {card.name}, {card.memory / 1e9:.0f} GB, compute capability {card.capability}, {driver}",
        f"machine    {machine.processor}, {machine.cores} cores; Python {machine.python}",
        f"tinyvit    {plan.precision}, CuPy {card.cupy} with CUDA {card.cuda}",
    ]
    if plan.opponents:
        lines.append(
            f"PyTorch    {machine.torch}: {PRECISION_IN_TORCH[plan.precision]}, channels last, "
            f"scaled_dot_product_attention, fused AdamW; {' and '.join(_how(side) for side in plan.opponents)}"
        )
    elif not machine.torch:
        lines.append("PyTorch    is not installed, so there is nothing to compare with")
    length = f"{plan.steps} steps" if plan.steps else "about a second"
    lines += [
        "how        a whole training step on a batch that lies on the GPU: loss, gradients, their norm clipped, AdamW",
        f"           medians of {plan.repeats} turns of {length} from idle to idle, after some to warm up",
        "           each side is a process of its own; they take turns; a ratio compares neighbouring turns",
        "           memory is the most that arrays take in a step (in brackets: what the library's allocator holds)",
    ]
    return "\n".join(lines)


def agreement(found: list[Agreement]) -> str:
    """What both libraries' errors are."""
    lines = [
        "Loss and gradients with random weights: errors relative to PyTorch in float64",
        f"  {'':32} {'':10} {'loss':>20} {'gradient':>20}   worst parameter of tinyvit",
        f"  {'':32} {'':10} {'tinyvit':>10}{'PyTorch':>10} {'tinyvit':>10}{'PyTorch':>10}",
    ]
    for one in found:
        lines.append(
            f"  {one.name:32} {one.precision:10} {one.ours.loss:>10.1e}{one.theirs.loss:>10.1e} "
            f"{one.ours.gradient:>10.1e}{one.theirs.gradient:>10.1e}   {one.ours.worst:.1e} {one.ours.parameter}"
        )
    return "\n".join(lines)


def timings(ours: Timings, theirs: Timings) -> str:
    """All kernels, tinyvit's next to PyTorch's where that has the same."""
    lines = []
    width = max(len(name) for found in (ours, theirs) for names in found.values() for name in names)
    for group, title in TITLES.items():
        own, other = ours.get(group, {}), theirs.get(group, {})
        heads = f"{'tinyvit us':>12} {'':>14}" + (f" {'PyTorch us':>12} {'':>14} {'ratio':>6}" if other else "")
        lines.append(f"\n{title}\n  {'':{width}} {heads.rstrip()}")
        for name in dict.fromkeys((*own, *other)):
            line = f"  {name:{width}} {_timing(own.get(name))}"
            if other:
                line += f" {_timing(other.get(name))}"
            if name in own and name in other:
                line += f" {other[name].seconds / own[name].seconds:>6.2f}"
            lines.append(line.rstrip())
    return "\n".join(lines).lstrip("\n")


def ceilings_of(ours: Timings) -> Ceilings:
    """The GPU's limits as tinyvit meets them, for the breakdown and the figures."""
    found = dict(ours["ceilings"])
    copy = found.pop("copy")
    products = {name.rpartition(", ")[2]: timing.flop / timing.seconds / 1e9 for name, timing in found.items()}
    return Ceilings(products, {"copy": copy.bytes / copy.seconds / 1e9}, threads=1)


def results(measured: GPUMeasured) -> str:
    """Throughput, memory and ratios of one row."""
    lines = [
        f"  {measured.task:15} {'images/s':>10} {'ms a step':>10} {'queued in':>10} {'memory':>22} {'loss':>8}"
        "   ratio (of each pair)"
    ]
    for side in measured.seconds:
        rate = measured.images_per_second(side)
        used, held = (measured.memory[side][key] / 1e9 for key in ("allocated", "reserved"))
        line = (
            f"    {side:13} {rate:>10,.0f} {1e3 * measured.row.batch_size / rate:>10.2f} "
            f"{1e3 * measured.queueing[side]:>10.2f} {f'{used:.2f} GB ({held:.2f} GB)':>22} "
            f"{measured.losses[side]:>8.4f}"
        )
        if side != OURS:
            line += f"   {measured.ratio(side):.2f} ({' '.join(f'{r:.2f}' for r in measured.ratios(side))})"
        lines.append(line)
    return "\n".join(lines)


def summary(all_measured: list[GPUMeasured], plan: GPUPlan) -> str:
    """One line a row: the figures to quote."""
    line = f"{f'training, {plan.precision}':34} {'images/s':>10} {'memory':>9}"
    lines = [line + "".join(f" {side + ' images/s':>22} {'memory':>9} {'ratio':>6}" for side in plan.opponents)]
    for measured in all_measured:
        line = f"{measured.row.name:34} {measured.images_per_second(OURS):>10,.0f} {_gigabytes(measured, OURS):>9}"
        for side in plan.opponents:
            line += f" {measured.images_per_second(side):>22,.0f} {_gigabytes(measured, side):>9}"
            line += f" {measured.ratio(side):>6.2f}"
        lines.append(line)
    return "\n".join(lines)


def as_json(
    card: Card,
    machine: Machine,
    plan: GPUPlan,
    agreements: list[Agreement],
    ours: Timings,
    theirs: Timings,
    all_measured: list[GPUMeasured],
) -> dict:
    """Everything that was measured, seconds and bytes, for json.dumps."""
    return {
        "card": vars(card),
        "machine": vars(machine),
        "plan": vars(plan),
        "agreement": [dataclasses.asdict(one) for one in agreements],
        "kernels": {OURS: _timings_as_json(ours), EAGER: _timings_as_json(theirs)},
        "rows": [_measured_as_json(measured) for measured in all_measured],
    }


def _measured_as_json(measured: GPUMeasured) -> dict:
    opponents = [side for side in measured.seconds if side != OURS]
    return {
        "name": measured.row.name,
        "model": dataclasses.asdict(measured.row.config),
        "batch_size": measured.row.batch_size,
        "task": measured.task,
        "steps_a_turn": measured.steps,
        "seconds_a_step": measured.seconds,
        "images_per_second": {side: measured.images_per_second(side) for side in measured.seconds},
        "memory_bytes": measured.memory,
        "seconds_to_queue_a_step": measured.queueing,
        "losses": measured.losses,
        "ratios": {side: measured.ratios(side) for side in opponents},
        "median_ratio": {side: measured.ratio(side) for side in opponents},
        "breakdown": parts_as_json(measured.parts),
    }


def _timings_as_json(found: Timings) -> dict:
    return {
        group: {name: dataclasses.asdict(timing) for name, timing in timings.items()}
        for group, timings in found.items()
    }


def _timing(timing: Timing | None) -> str:
    return f"{1e6 * timing.seconds:>12,.1f} {timing.rate:>14}" if timing else f"{'':>12} {'':>14}"


def _how(side: str) -> str:
    return {EAGER: "eager", COMPILED: "torch.compile"}[side]


def _gigabytes(measured: GPUMeasured, side: str) -> str:
    return f"{measured.memory[side]['allocated'] / 1e9:.2f} GB"
