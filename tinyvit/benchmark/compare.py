"""Both sides take turns at the same work, each in a process of its own; what is compared are neighbouring turns."""

import contextlib
import dataclasses
import statistics

from tinyvit.benchmark.breakdown import Part
from tinyvit.benchmark.process import OwnProcess, in_own_process
from tinyvit.benchmark.rows import Row
from tinyvit.benchmark.sides import Ours, Theirs
from tinyvit.errors import InputError

TASKS = ("training", "inference")
OURS, EAGER, COMPILED = "tinyvit", "PyTorch", "torch.compile"
TURN_SECONDS = 1.0
WARM_UP_STEPS = 3
# Largest differences, relative to the largest magnitude, up to which two float32 models are the same.
LOGITS_TOLERANCE, GRADIENTS_TOLERANCE = 1e-4, 1e-3


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to measure.

    Attributes:
        workers: threads, on each side.
        repeats: turns of each side.
        steps: in a turn; 0 for as many as fit into a second.
        opponents: EAGER, COMPILED, both or none.
    """

    workers: int
    repeats: int = 7
    steps: int = 0
    opponents: tuple[str, ...] = ()

    def __post_init__(self):
        if self.workers < 1:
            raise InputError(f"{self.workers} workers: give at least 1, or leave it out for one a core")
        if self.repeats < 1:
            raise InputError(f"--repeats is {self.repeats}: give at least 1")
        if self.steps < 0:
            raise InputError(f"--steps is {self.steps}: give at least 1, or leave it out for turns of about a second")


@dataclasses.dataclass(frozen=True)
class Turns:
    """How fast one task of one row is, on every side.

    Attributes:
        steps: in each turn.
        seconds: side -> seconds a step, turn by turn.
    """

    row: Row
    task: str
    steps: int
    seconds: dict[str, list[float]]

    def images_per_second(self, side: str) -> float:
        """The median of the turns."""
        return self.row.batch_size / statistics.median(self.seconds[side])

    def ratios(self, opponent: str) -> list[float]:
        """tinyvit's throughput divided by the opponent's, for each pair of neighbouring turns."""
        pairs = zip(self.seconds[OURS], self.seconds[opponent], strict=True)
        return [theirs / ours for ours, theirs in pairs]

    def ratio(self, opponent: str) -> float:
        """The median of :meth:`ratios`."""
        return statistics.median(self.ratios(opponent))


@dataclasses.dataclass(frozen=True)
class Measured(Turns):
    """One task of one row, on every side.

    Attributes:
        memory: side -> bytes: "peak" of the process and "net", without what was there before the model.
        computed_while_waiting: side -> the largest share of a turn of the others in which it kept a core busy.
        others: cores that other programs kept busy meanwhile, the mean of all turns.
        parts: of tinyvit's step.
        tokens_asking_last: of how many tokens tinyvit's last block computes the output.
    """

    memory: dict[str, dict[str, int]]
    computed_while_waiting: dict[str, float]
    others: float
    parts: list[Part]
    tokens_asking_last: int


def measure(row: Row, task: str, plan: Plan) -> Measured:
    """Have all sides take their turns at one task.

    Raises:
        InputError: not enough memory.
    """
    with contextlib.ExitStack() as stack:
        sides = {OURS: stack.enter_context(OwnProcess(Ours, row, task, plan.workers))}
        for name in plan.opponents:
            sides[name] = stack.enter_context(OwnProcess(Theirs, row, task, plan.workers, name == COMPILED))

        steps, turns = take_turns(sides, plan)
        seconds = {name: [turn["seconds"] for turn in own] for name, own in turns.items()}
        computed = {name: max(turn["computed_while_waiting"] for turn in own) for name, own in turns.items()}
        others = [turn["others"] for own in turns.values() for turn in own]
        longest = steps * max(map(statistics.median, seconds.values()))
        return Measured(
            row,
            task,
            steps,
            seconds,
            {name: side.call("memory") for name, side in sides.items()},
            {name: waited / longest for name, waited in computed.items()},
            statistics.fmean(others),
            sides[OURS].call("breakdown", max(steps, WARM_UP_STEPS)),
            sides[OURS].call("tokens_asking_last"),
        )


def take_turns(sides: dict[str, OwnProcess], plan: Plan) -> tuple[int, dict[str, list[dict]]]:
    """Have each side take its turns, after one to warm up.

    Returns:
        steps of a turn, and what each side's ``turn(steps)`` gave, turn by turn; "seconds" of a step are among it.
    """
    steps = plan.steps or _steps_a_turn(sides)
    for side in sides.values():
        side.call("turn", steps)
    turns = {name: [] for name in sides}
    for number in range(plan.repeats):
        # Every second pair in the other order, so that a machine that slowly changes favours nobody.
        for name in sides if number % 2 == 0 else reversed(sides):
            turns[name].append(sides[name].call("turn", steps))
    return steps, turns


def meet_torch(rows: list[Row], threads: int, side: int) -> tuple[list[tuple[float, float]], float]:
    """Prove that both models are the same in each row: the differences of logits and gradients, relative to the
    largest; and GFLOP/s of PyTorch's products of side x side matrices.

    Raises:
        InputError: they are not the same, so there is nothing to compare; or PyTorch cannot be imported.
    """
    try:
        found, gflops = in_own_process(_differences_and_product_rate, rows, threads, side)
    except ImportError as error:
        raise InputError(f"PyTorch is installed but cannot be imported ({error}): --no-torch leaves it out") from error
    for row, (logits, gradients) in zip(rows, found, strict=True):
        # Written so that a difference that is not a number is refused too.
        if not (logits <= LOGITS_TOLERANCE and gradients <= GRADIENTS_TOLERANCE):
            raise InputError(
                f"{row.name}: PyTorch's model gives other logits (by {logits:.1e}) or gradients (by {gradients:.1e}) "
                "with the same weights, so comparing them would mean nothing; --no-torch leaves it out"
            )
    return found, gflops


def _steps_a_turn(sides: dict[str, OwnProcess]) -> int:
    slowest = 0.0
    for side in sides.values():
        side.call("turn", 1)  # allocates, and compiles
        slowest = max(slowest, side.call("turn", WARM_UP_STEPS)["seconds"])
    return max(1, round(TURN_SECONDS / slowest))


def _differences_and_product_rate(rows: list[Row], threads: int, side: int) -> tuple[list, float]:
    from tinyvit.benchmark import torch_model  # here, in the other process, PyTorch is imported

    return [torch_model.differences(row) for row in rows], torch_model.product_rate(threads, side)
