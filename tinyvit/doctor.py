"""python -m tinyvit.doctor: what tinyvit finds on this machine, and what to do about what is missing."""

import functools

from tinyvit import commands
from tinyvit.diagnosis import driver, gpu, machine, training
from tinyvit.diagnosis.probe import Probe, run

MACHINE: dict[str, Probe] = {
    "tinyvit": machine.tinyvit,
    "Python": machine.python,
    "NumPy": machine.numpy,
    "packages": machine.packages,
    "processor": machine.processor,
    "memory": machine.memory,
    "C++ compiler": machine.cpp_compiler,
    "PyTorch": machine.pytorch,
}
GPU: dict[str, Probe] = {
    "driver": driver.driver,
    "GPU": driver.gpus,
    "CuPy": gpu.cupy,
    "NVRTC": gpu.nvrtc,
    "cuBLAS": gpu.cublas,
    "CUDA headers": gpu.headers,
    "bfloat16": gpu.bfloat16,
}
TRAINING: dict[str, Probe] = {"on the CPU": training.on_cpu, "on a GPU": training.on_gpu}
TENSOR_CORES: dict[str, Probe] = {  # TF32 last: once on, it stays on
    precision: functools.partial(training.on_gpu, precision) for precision in ("bfloat16", "tf32")
}


def main() -> int:
    commands.Parser(
        prog="python -m tinyvit.doctor",
        description="Say what tinyvit finds on this machine, and what to do about what is missing. The exit status is "
        "0 if a model can be trained.",
    ).parse_args()
    print("this machine")
    show(MACHINE)
    print("\nan NVIDIA GPU, for speed")
    show(GPU)
    print("\nsteps of training, to see whether they work (a GPU first compiles its kernels, for a minute)")
    cpu_works, gpu_works = show(TRAINING)
    if gpu_works:
        show(TENSOR_CORES)
    where = " and ".join(name for name, works in (("the CPU", cpu_works), ("a GPU", gpu_works)) if works)
    print(f"\ntinyvit can train on {where}" if where else "\ntinyvit cannot train here: mend what is broken above")
    return 0 if where else 1


def show(probes: dict[str, Probe]) -> list[bool]:
    """Run probes and print a line or more for each; whether each found what it looked for."""
    works = []
    for name, probe in probes.items():
        state, lines = run(probe)
        for line in lines:
            print(f"  {state:8} {name:13} {line}")
        works.append(state == "ok")
    return works


if __name__ == "__main__":
    commands.run(main)
