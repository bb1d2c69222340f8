"""python -m tinyvit.kernels.gpu.compile_gate: compiles every .cu file for each generation of GPUs, without a GPU.

The compiler tells how many registers and how much shared memory each kernel takes, and whether it spills: whether it
ran out of registers and keeps numbers in memory, a hundred times slower. No kernel may.
"""

import dataclasses
import itertools
import os
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from tinyvit.kernels.gpu.headers import header_folders
from tinyvit.kernels.gpu.launch import FOLDER

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")  # Ampere (A100), Hopper (H100), Blackwell (B200)

TYPES = ({}, {"BFLOAT16": 1})
NUMBER_BY_NUMBER = ({}, {"VECTOR": 1})
GELU_FORMS = tuple(
    {name: 1 for name, on in zip(("EXACT", "FOR_BACKWARD"), wanted, strict=True) if on}
    for wanted in itertools.product((False, True), repeat=2)
)
ODD_HEAD = {"HEAD_WIDTH": 31, "VECTOR": 1}  # number by number
HEAD_WIDTHS = (*({"HEAD_WIDTH": width} for width in (16, 32, 64, 80, 128)), ODD_HEAD)  # the sizes' own, and both ends
TWO_HEADS = ({"HEAD_WIDTH": 128}, ODD_HEAD)

# .cu file -> the sets of constants to choose from, one of each; for others TYPES and NUMBER_BY_NUMBER.
CHOICES: dict[str, tuple[tuple[dict[str, int], ...], ...]] = {
    "attention": (HEAD_WIDTHS,),  # in bfloat16 the tensor cores do it
    "attention_backward": (HEAD_WIDTHS,),
    "attention_steps": (TYPES, TWO_HEADS),
    "attention_tensor_cores": (({"BFLOAT16": 1},), HEAD_WIDTHS, ({}, {"ANYWHERE": 1})),
    "attention_weights": (TYPES, TWO_HEADS),
    "clip_scale": (({},),),
    "gelu": (TYPES, NUMBER_BY_NUMBER, GELU_FORMS),
    "layer_norm": (
        # Of widths 64 to 1280, where a lane holds 4 float32 or 8 bfloat16 numbers in each piece: some, and the widest.
        (
            *({"PIECES": pieces} for pieces in (3, 10)),
            *({"PIECES": pieces, "BFLOAT16": 1} for pieces in (3, 5)),
            *({"PIECES": pieces, "VECTOR": 1} for pieces in (1, 40)),
        ),
    ),
    "layer_norm_steps": (TYPES, tuple({"HELD": held} for held in (6, 40))),
    "matmul_steps": (({"BFLOAT16": 1},),),
    "mlp": (TYPES, NUMBER_BY_NUMBER, GELU_FORMS),
    "sigmoid_cross_entropy": (TYPES,),
    "tensor_cores": (({"BFLOAT16": 1},),),
    "total": (({},),),
}


class NoNVRTC(RuntimeError):
    """NVIDIA's run-time compiler or its headers cannot be found."""


@dataclasses.dataclass(frozen=True)
class Usage:
    """What one kernel takes.

    Attributes:
        file, kernel, constants, architecture: which kernel, compiled how.
        registers: for each thread.
        shared: bytes of shared memory for each block, dynamic shared memory left out.
        spilled: bytes of registers kept in memory, and of arrays that are there from the start.
    """

    file: str
    kernel: str
    constants: str
    architecture: str
    registers: int
    shared: int
    spilled: int


def variants() -> Iterator[tuple[str, dict[str, int]]]:
    """Every .cu file with each set of constants that it is compiled with."""
    for path in sorted(FOLDER.glob("*.cu")):
        for chosen in itertools.product(*CHOICES.get(path.stem, (TYPES, NUMBER_BY_NUMBER))):
            yield path.stem, {name: value for part in chosen for name, value in part.items()}


def compile_one(file: str, constants: dict[str, int], architecture: str) -> list[Usage]:
    """Compile ``<file>.cu`` and give what each kernel in it takes.

    Raises:
        NoNVRTC: the compiler is missing.
        RuntimeError: it refused the file; the message is the compiler's.
    """
    try:
        from cupy.cuda import nvrtc

        nvrtc.getVersion()
    except Exception as error:
        raise NoNVRTC(f"NVRTC cannot be used ({error}): pip install -e '.[cuda13]'") from error
    options = [
        f"--gpu-architecture={architecture}",
        "--std=c++17",
        "--ptxas-options=-v",
        *(f"-D{name}={value}" for name, value in constants.items()),
        *(f"-I{folder}" for folder in (FOLDER, *header_folders())),
    ]
    path = FOLDER / f"{file}.cu"
    program = nvrtc.createProgram(path.read_text(encoding="utf-8"), path.name, (), ())
    try:
        nvrtc.compileProgram(program, options)
    except nvrtc.NVRTCError as error:
        raise RuntimeError(
            f"{path.name} {_text(constants)} does not compile for {architecture}:\n{nvrtc.getProgramLog(program)}"
        ) from error
    log = nvrtc.getProgramLog(program)
    nvrtc.destroyProgram(program)
    return list(_usages(log, file, _text(constants), architecture))


def _usages(log: str, file: str, constants: str, architecture: str) -> Iterator[Usage]:
    """What the assembler's log says of each kernel."""
    for part in log.split("Compiling entry function")[1:]:
        name = re.search(r"'(\w+)'", part)[1]
        frame, stores, loads = re.search(
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part
        ).groups()
        shared = re.search(r"(\d+) bytes smem", part)
        registers = int(re.search(r"Used (\d+) registers", part)[1])
        spilled = max(int(frame), int(stores), int(loads))
        yield Usage(file, name, constants, architecture, registers, int(shared[1]) if shared else 0, spilled)


def _text(constants: dict[str, int]) -> str:
    return " ".join(f"{name}={value}" for name, value in constants.items())


def compile_all(architectures: tuple[str, ...] = ARCHITECTURES) -> list[Usage]:
    """Compile everything, on all cores.

    Raises:
        NoNVRTC: the compiler is missing.
        RuntimeError: it refused a file.
    """
    jobs = [(file, constants, arch) for file, constants in variants() for arch in architectures]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        return [usage for usages in pool.map(compile_one, *zip(*jobs, strict=True), chunksize=4) for usage in usages]


def main() -> int:
    try:
        usages = compile_all()
    except NoNVRTC as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{'kernel':56} compiled   registers   shared bytes")
    for file, kernel in sorted({(usage.file, usage.kernel) for usage in usages}):
        same = [usage for usage in usages if (usage.file, usage.kernel) == (file, kernel)]
        registers = f"{min(usage.registers for usage in same)} to {max(usage.registers for usage in same)}"
        shared = max(usage.shared for usage in same)
        print(f"{f'{file}.cu {kernel}':56} {f'{len(same)} times':>8} {registers:>11} {shared:>14,}")
    spilling = [usage for usage in usages if usage.spilled]
    for usage in spilling:
        print(
            f"spills {usage.spilled} bytes: {usage.kernel} of {usage.file}.cu, {usage.constants}, {usage.architecture}"
        )
    print(f"{len(usages)} kernels for {', '.join(ARCHITECTURES)}: {len(spilling)} spill")
    return 1 if spilling else 0


if __name__ == "__main__":
    sys.exit(main())
