"""The measurement as text and as JSON."""

import dataclasses

from tinyvit.benchmark.breakdown import REST, Part
from tinyvit.benchmark.ceilings import Ceilings
from tinyvit.benchmark.compare import COMPILED, OURS, Measured, Plan
from tinyvit.benchmark.machine import Machine

BUSY = 0.15  # cores; other programs that take more spoil a measurement
SMALLEST_SHARE = 0.002  # parts of a step below this are left out of the printed table


def header(machine: Machine, plan: Plan) -> str:
    """Where it is measured, and how."""
    lines = [
        f"machine    {machine.processor}, {machine.cores} core{'s' * (machine.cores > 1)}",
        f"tinyvit    Python {machine.python}, NumPy {machine.numpy} with {machine.blas}; "
        f"{plan.workers} worker{'s' * (plan.workers > 1)}",
    ]
    if plan.opponents:
        compiled = "; and torch.compile" if COMPILED in plan.opponents else ""
        lines.append(
            f"PyTorch    {machine.torch}, eager, scaled_dot_product_attention, {_threads(plan.workers)}{compiled}"
        )
    elif not machine.torch:
        lines.append("PyTorch    is not installed, so there is nothing to compare with: pip install torch adds it")
    turns = f"{plan.repeats} turn{'s' * (plan.repeats > 1)}"
    length = f"{plan.steps} step{'s' * (plan.steps != 1)}" if plan.steps else "about a second"
    lines += [
        f"how        float32, random images; medians of {turns} of {length}, after one to warm up",
        "           training is a whole step: loss, gradients, their norm clipped to 1, AdamW",
    ]
    if plan.opponents:
        lines.append(
            "           each side is a process of its own; they take turns; a ratio compares neighbouring turns"
        )
    lines.append("           memory is the peak less what was there before the model (in brackets: the whole process)")
    return "\n".join(lines)


def limits(ceilings: Ceilings, torch_gflops: float) -> str:
    """The machine's measured ceilings."""
    products = ", ".join(f"{name} {rate:.0f}" for name, rate in ceilings.products.items())
    moves = ", ".join(f"{name} {rate:.0f}" for name, rate in ceilings.moves.items())
    lines = [
        f"ceilings   matrix products {ceilings.gflops:.0f} GFLOP/s ({products}), "
        f"memory {ceilings.bandwidth:.0f} GB/s ({moves}), {_threads(ceilings.threads)}"
    ]
    if torch_gflops:
        lines.append(f"           PyTorch's matrix products {torch_gflops:.0f} GFLOP/s")
    return "\n".join(lines)


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"


def results(measured: Measured) -> str:
    """Throughput, memory and ratios of one task."""
    lines = [f"  {measured.task:15} {'images/s':>10} {'ms a step':>10} {'memory':>20}   ratio (of each pair)"]
    for side in measured.seconds:
        rate = measured.images_per_second(side)
        net, peak = (measured.memory[side][key] / 1e6 for key in ("net", "peak"))
        line = (
            f"    {side:13} {rate:>10.1f} {1e3 * measured.row.batch_size / rate:>10.1f} "
            f"{f'{net:.0f} MB ({peak:.0f} MB)':>20}"
        )
        if side != OURS:
            pairs = " ".join(f"{ratio:.2f}" for ratio in measured.ratios(side))
            line += f"   {measured.ratio(side):.2f} ({pairs})"
        lines.append(line)
    tokens = measured.row.config.tokens
    if measured.tokens_asking_last < tokens:
        lines.append(
            f"    tinyvit's last block computes {measured.tokens_asking_last} of {tokens} tokens: all that is read"
        )
    if measured.others > BUSY:
        lines.append(
            f"    note: other programs kept {measured.others:.1f} cores busy meanwhile. Measure again without them: "
            "PyTorch, whose\n    threads wait for each other after each operation, loses more by that than tinyvit"
        )
    for side, share in measured.computed_while_waiting.items():
        if share > 0.05:
            lines.append(f"    note: {side} used {share:.0%} of a core while it waited, which slowed the other side")
    return "\n".join(lines)


def breakdown_table(parts: list[Part], ceilings: Ceilings) -> str:
    """Where the step's time goes, the longest first."""
    lines = [f"    {'kernel':32} {'ms':>8} {'share':>7} {'calls':>6} {'GFLOP/s':>8} {'GB/s':>6} {'of limit':>9}"]
    small = [part for part in parts if part.share < SMALLEST_SHARE and part.name != REST]
    for part in parts:
        if part in small:
            continue
        line = f"    {part.name:32} {1e3 * part.seconds:>8.2f} {part.share:>7.1%}"
        if part.work:
            limit = part.gflops / ceilings.gflops_at(part.work.intensity)
            line += f" {part.calls:>6.0f} {part.gflops:>8.1f} {part.bandwidth:>6.1f} {limit:>9.0%}"
        lines.append(line)
    if small:
        seconds, share = sum(part.seconds for part in small), sum(part.share for part in small)
        lines.insert(-1, f"    {f'{len(small)} smaller kernels':32} {1e3 * seconds:>8.2f} {share:>7.1%}")
    return "\n".join(lines)


def summary(all_measured: list[Measured], opponents: tuple[str, ...]) -> str:
    """One line a row and task: the figures to quote."""
    lines = [f"{'':34} {'task':10} {'images/s':>9} {'memory':>9}"]
    lines[0] += "".join(f" {side + ' images/s':>22} {'memory':>9} {'ratio':>6}" for side in opponents)
    for measured in all_measured:
        line = f"{measured.row.name:34} {measured.task:10} {measured.images_per_second(OURS):>9.1f}"
        line += f" {_megabytes(measured, OURS):>9}"
        for side in opponents:
            line += f" {measured.images_per_second(side):>22.1f} {_megabytes(measured, side):>9}"
            line += f" {measured.ratio(side):>6.2f}"
        lines.append(line)
    return "\n".join(lines)


def as_json(
    machine: Machine, ceilings: Ceilings, torch_gflops: float, plan: Plan, all_measured: list[Measured]
) -> dict:
    """Everything that was measured, seconds and bytes, for json.dumps."""
    return {
        "machine": vars(machine),
        "ceilings": {**vars(ceilings), "torch_gflops": torch_gflops or None},
        "plan": vars(plan),
        "rows": [_measured_as_json(measured) for measured in all_measured],
    }


def _measured_as_json(measured: Measured) -> dict:
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
        "cores_of_other_programs": measured.others,
        "tokens_asking_last": measured.tokens_asking_last,
        "computed_while_waiting": measured.computed_while_waiting,
        "ratios": {side: measured.ratios(side) for side in opponents},
        "median_ratio": {side: measured.ratio(side) for side in opponents},
        "breakdown": parts_as_json(measured.parts),
    }


def parts_as_json(parts: list[Part]) -> list[dict]:
    """The parts of a step, for json.dumps."""
    return [
        {
            "name": part.name,
            "seconds": part.seconds,
            "share": part.share,
            "calls": part.calls,
            **({"flop": part.work.flop, "bytes": part.work.bytes} if part.work else {}),
        }
        for part in parts
    ]


def _megabytes(measured: Measured, side: str) -> str:
    return f"{measured.memory[side]['net'] / 1e6:.0f} MB"
