"""Both libraries take turns on one GPU, each in a process of its own, at the same training."""

import contextlib
import dataclasses

from tinyvit.benchmark.breakdown import Part
from tinyvit.benchmark.compare import COMPILED, OURS, Plan, Turns, take_turns
from tinyvit.benchmark.on_gpu.sides import OursOnGPU, TheirsOnGPU
from tinyvit.benchmark.process import OwnProcess
from tinyvit.benchmark.rows import Row

BREAKDOWN_STEPS = 5


@dataclasses.dataclass(frozen=True)
class GPUPlan(Plan):
    """How to measure on a GPU.

    Attributes:
        number: of the GPU.
        precision: "float32", "tf32" or "bfloat16".
    """

    number: int = 0
    precision: str = "bfloat16"


@dataclasses.dataclass(frozen=True)
class GPUMeasured(Turns):
    """Training of one row, on every side.

    Attributes:
        memory: side -> bytes: "allocated" by arrays at most in a step, "reserved" by the library's allocator.
        queueing: side -> seconds that Python takes to queue a step.
        losses: side -> the loss of its last step.
        parts: of tinyvit's step.
    """

    memory: dict[str, dict[str, int]]
    queueing: dict[str, float]
    losses: dict[str, float]
    parts: list[Part]


def measure_on_gpu(row: Row, plan: GPUPlan) -> GPUMeasured:
    """Have all sides take their turns at training.

    Raises:
        MemoryError: the GPU has not enough of it for all sides at once.
        InputError: PyTorch cannot use the GPU, or cannot compile.
    """
    with contextlib.ExitStack() as stack:
        sides = {OURS: stack.enter_context(OwnProcess(OursOnGPU, row, plan.number, plan.precision))}
        for name in plan.opponents:
            own = OwnProcess(TheirsOnGPU, row, plan.number, plan.precision, name == COMPILED)
            sides[name] = stack.enter_context(own)
        steps, turns = take_turns(sides, plan)
        return GPUMeasured(
            row,
            "training",
            steps,
            {name: [turn["seconds"] for turn in own] for name, own in turns.items()},
            losses={name: side.call("loss") for name, side in sides.items()},
            memory={name: side.call("memory") for name, side in sides.items()},
            queueing={name: side.call("queueing") for name, side in sides.items()},
            parts=sides[OURS].call("breakdown", BREAKDOWN_STEPS),
        )
