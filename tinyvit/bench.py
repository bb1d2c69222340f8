"""python -m tinyvit.bench: how fast training and inference are here, where the time goes, and what PyTorch does."""

import json
from pathlib import Path

from tinyvit import commands
from tinyvit.benchmark import report
from tinyvit.benchmark.ceilings import SIDE, measure_ceilings
from tinyvit.benchmark.compare import COMPILED, EAGER, TASKS, Measured, Plan, measure, meet_torch
from tinyvit.benchmark.figures import draw_parts, draw_ratios, draw_rooflines
from tinyvit.benchmark.machine import Machine
from tinyvit.benchmark.process import in_own_process
from tinyvit.benchmark.rows import Row, standard_rows
from tinyvit.errors import InputError
from tinyvit.files import write_text
from tinyvit.models import ViTConfig
from tinyvit.training.workers import available_cores

MODEL = ("image_size", "patch_size", "channels", "classes", "width", "depth", "heads", "mlp_width", "pool")


def parser() -> commands.Parser:
    made = commands.Parser(
        prog="python -m tinyvit.bench",
        usage="python -m tinyvit.bench [options]",
        description="Measure images per second and memory of training and inference, and where the time goes; where "
        "PyTorch is installed, the same for an equal PyTorch model, in turns.",
        epilog="Without model options, four standard models are measured, which takes some minutes.",
    )
    model = made.add_argument_group("model", "any of these: measure this one model instead of the four")
    model.add_argument("--size", metavar="NAME", help="nano, tiny, small, base, large or huge (default tiny)")
    model.add_argument("--image-size", type=int, metavar="N", help="pixels (default 224)")
    model.add_argument("--patch-size", type=int, metavar="N", help="pixels (default 16)")
    model.add_argument("--channels", type=int, metavar="N", help="3 for colour, 1 for grey (default 3)")
    model.add_argument("--classes", type=int, metavar="N", help="outputs of the head (default 1000)")
    for name in ("width", "depth", "heads", "mlp-width"):
        model.add_argument(f"--{name}", type=int, metavar="N", help=f"instead of the size's {name.replace('-', ' ')}")
    model.add_argument("--pool", metavar="NAME", help="class_token or mean (default class_token)")
    model.add_argument("--batch-size", type=int, metavar="N", help="images a step (default 16)")

    how = made.add_argument_group("measuring")
    how.add_argument(
        "--workers", type=int, metavar="N", default=available_cores(), help="threads (default: one a core)"
    )
    how.add_argument("--repeats", type=int, metavar="N", default=7, help="turns of each side (default 7)")
    how.add_argument("--steps", type=int, metavar="N", help="in a turn (default: as many as fit into a second)")
    how.add_argument("--no-torch", action="store_true", help="measure tinyvit alone")
    how.add_argument("--compile", action="store_true", help="also measure PyTorch's model under torch.compile")
    made.add_argument(
        "--out", type=Path, metavar="FOLDER", default=Path("bench"), help="for results.json and figures (default bench)"
    )
    return made


def main() -> None:
    given = parser().parse_args()
    machine = Machine.here()
    rows = rows_from(given)
    plan = plan_from(given, bool(machine.torch))
    try:
        given.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make folder {given.out}: {error.strerror}; choose another --out") from error

    print(report.header(machine, plan))
    differences, torch_gflops = meet_torch(rows, plan.workers, SIDE) if plan.opponents else ([], 0.0)
    ceilings = in_own_process(measure_ceilings, plan.workers)
    print(report.limits(ceilings, torch_gflops))

    done: list[Measured] = []
    for i, row in enumerate(rows):
        print(f"\n{row.name}")
        if plan.opponents:
            logits, gradients = differences[i]
            print(f"  the same model in PyTorch: logits differ by {logits:.0e} at most, gradients by {gradients:.0e}")
        for task in TASKS:
            done.append(measure(row, task, plan))
            print(report.results(done[-1]))
            print(report.breakdown_table(done[-1].parts, ceilings))

    if len(rows) > 1:
        print(f"\n{report.summary(done, plan.opponents)}")
    results = report.as_json(machine, ceilings, torch_gflops, plan, done)
    write_text(given.out / "results.json", json.dumps(results, indent=1) + "\n")
    training = [measured for measured in done if measured.task == "training"]
    draw_rooflines(training, ceilings, given.out / "roofline.png")
    draw_parts(training, given.out / "kernels.png")
    written = ["results.json", "roofline.png", "kernels.png"]
    if plan.opponents:
        draw_ratios(done, plan.opponents, given.out / "ratios.png")
        written.append("ratios.png")
    print(f"\nin {given.out}: {', '.join(written)}")


def rows_from(given) -> list[Row]:
    """The one model that was asked for, or the standard ones."""
    changes = {name: getattr(given, name) for name in MODEL if getattr(given, name) is not None}
    if given.size is None and given.batch_size is None and not changes:
        return standard_rows()
    size = given.size or "tiny"
    config = ViTConfig.named(size, **changes)
    reshaped = {"width", "depth", "heads", "mlp_width"} & set(changes)
    return [Row(config, 16 if given.batch_size is None else given.batch_size, "" if reshaped else size)]


def plan_from(given, torch_is_installed: bool) -> Plan:
    """How to measure, and against whom.

    Raises:
        InputError: numbers out of range, or --compile without PyTorch.
    """
    if given.steps is not None and given.steps < 1:
        raise InputError(f"--steps is {given.steps}: give at least 1, or leave it out for turns of about a second")
    if given.compile and (given.no_torch or not torch_is_installed):
        raise InputError("--compile measures PyTorch: " + ("leave out --no-torch" if given.no_torch else "install it"))
    opponents = ()
    if torch_is_installed and not given.no_torch:
        opponents = (EAGER, COMPILED) if given.compile else (EAGER,)
    return Plan(given.workers, given.repeats, given.steps or 0, opponents)


if __name__ == "__main__":
    commands.run(main)
