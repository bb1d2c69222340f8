"""python -m tinyvit.bench: how fast training and inference are here, where the time goes, and what PyTorch does."""

import argparse
import json
from pathlib import Path

from tinyvit import commands
from tinyvit.benchmark import report
from tinyvit.benchmark.ceilings import SIDE, measure_ceilings
from tinyvit.benchmark.compare import COMPILED, EAGER, TASKS, Measured, Plan, measure, meet_torch
from tinyvit.benchmark.figures import draw_parts, draw_ratios, draw_rooflines
from tinyvit.benchmark.machine import Machine
from tinyvit.benchmark.on_gpu.card import Card
from tinyvit.benchmark.on_gpu.compare import GPUPlan
from tinyvit.benchmark.on_gpu.run import run as run_on_gpu
from tinyvit.benchmark.process import in_own_process
from tinyvit.benchmark.rows import Row, gpu_rows, standard_rows
from tinyvit.device import Device
from tinyvit.errors import InputError
from tinyvit.files import write_text
from tinyvit.gpu import TENSOR_CORES
from tinyvit.models import ViTConfig
from tinyvit.training.workers import available_cores

MODEL = ("image_size", "patch_size", "channels", "classes", "width", "depth", "heads", "mlp_width", "pool")


def parser() -> commands.Parser:
    made = commands.Parser(
        prog="python -m tinyvit.bench",
        usage="python -m tinyvit.bench [options]",
        description="Measure images per second and memory of training and inference, and where the time goes; where "
        "PyTorch is installed, the same for an equal PyTorch model, in turns. On a GPU: training only, after a check "
        "that both compute the same, and kernel by kernel.",
        epilog="Without model options, standard models are measured, which takes some minutes: four on the CPU, tiny "
        "and small on a GPU.",
    )
    model = made.add_argument_group("model", "any of these: measure this one model instead of the standard ones")
    model.add_argument("--size", metavar="NAME", help="nano, tiny, small, base, large or huge (default tiny)")
    model.add_argument("--image-size", type=int, metavar="N", help="pixels (default 224)")
    model.add_argument("--patch-size", type=int, metavar="N", help="pixels (default 16)")
    model.add_argument("--channels", type=int, metavar="N", help="3 for colour, 1 for grey (default 3)")
    model.add_argument("--classes", type=int, metavar="N", help="outputs of the head (default 1000)")
    for name in ("width", "depth", "heads", "mlp-width"):
        model.add_argument(f"--{name}", type=int, metavar="N", help=f"instead of the size's {name.replace('-', ' ')}")
    model.add_argument("--pool", metavar="NAME", help="class_token or mean (default class_token)")
    model.add_argument("--batch-size", type=int, metavar="N", help="images a step (default 16, on a GPU 256)")

    how = made.add_argument_group("measuring")
    how.add_argument(
        "--device", metavar="NAME", default="cpu", help="cpu (default), gpu, gpu:N, or auto: a GPU if there is one"
    )
    how.add_argument(
        "--precision", metavar="NAME", help="on a GPU: bfloat16 (default where it has it), tf32 or float32"
    )
    how.add_argument("--workers", type=int, metavar="N", help="threads on the CPU (default: one a core)")
    how.add_argument("--repeats", type=int, metavar="N", default=7, help="turns of each side (default 7)")
    how.add_argument("--steps", type=int, metavar="N", help="in a turn (default: as many as fit into a second)")
    how.add_argument("--no-torch", action="store_true", help="measure tinyvit alone")
    how.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="also measure PyTorch's model under torch.compile (default on a GPU)",
    )
    made.add_argument(
        "--out", type=Path, metavar="FOLDER", default=Path("bench"), help="for results.json and figures (default bench)"
    )
    return made


def main() -> None:
    given = parser().parse_args()
    machine = Machine.here()
    device = commands.pick_device(given.device, given.precision or "float32")
    rows = rows_from(given, device)
    plan = plan_from(given, bool(machine.torch), device)
    try:
        given.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make folder {given.out}: {error.strerror}; choose another --out") from error
    if device.is_gpu:
        run_on_gpu(rows, Card.of(device.xp, device.name), machine, plan, given.out)
    else:
        run_on_cpu(rows, machine, plan, given.out)


def run_on_cpu(rows: list[Row], machine: Machine, plan: Plan, folder: Path) -> None:
    """Measure, print, and write results.json and the figures to ``folder``."""
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
    write_text(folder / "results.json", json.dumps(results, indent=1) + "\n")
    training = [measured for measured in done if measured.task == "training"]
    draw_rooflines(training, ceilings, folder / "roofline.png")
    draw_parts(training, folder / "kernels.png")
    written = ["results.json", "roofline.png", "kernels.png"]
    if plan.opponents:
        draw_ratios(done, plan.opponents, folder / "ratios.png")
        written.append("ratios.png")
    print(f"\nin {folder}: {', '.join(written)}")


def rows_from(given, device: Device) -> list[Row]:
    """The one model that was asked for, or the standard ones of the device."""
    changes = {name: getattr(given, name) for name in MODEL if getattr(given, name) is not None}
    if given.size is None and given.batch_size is None and not changes:
        return gpu_rows() if device.is_gpu else standard_rows()
    size = given.size or "tiny"
    config = ViTConfig.named(size, **changes)
    reshaped = {"width", "depth", "heads", "mlp_width"} & set(changes)
    default = 256 if device.is_gpu else 16
    return [Row(config, default if given.batch_size is None else given.batch_size, "" if reshaped else size)]


def plan_from(given, torch_is_installed: bool, device: Device) -> Plan:
    """How to measure, and against whom.

    Raises:
        InputError: numbers out of range, --compile without PyTorch, or --workers on a GPU.
    """
    if given.steps is not None and given.steps < 1:
        raise InputError(f"--steps is {given.steps}: give at least 1, or leave it out for turns of about a second")
    if given.compile and (given.no_torch or not torch_is_installed):
        raise InputError("--compile measures PyTorch: " + ("leave out --no-torch" if given.no_torch else "install it"))
    opponents = ()
    if torch_is_installed and not given.no_torch:
        compiled = device.is_gpu if given.compile is None else given.compile
        opponents = (EAGER, COMPILED) if compiled else (EAGER,)
    steps = given.steps or 0
    if not device.is_gpu:
        return Plan(available_cores() if given.workers is None else given.workers, given.repeats, steps, opponents)
    if given.workers is not None:
        raise InputError(f"--workers {given.workers} is for the CPU, a GPU is kept busy by one thread: leave it out")
    gpu = device.xp.cuda.Device()
    precision = given.precision or ("bfloat16" if int(gpu.compute_capability) >= TENSOR_CORES else "float32")
    return GPUPlan(1, given.repeats, steps, opponents, gpu.id, precision)


if __name__ == "__main__":
    commands.run(main)
