"""Probes that train: the only proof that everything is there and fits together."""

import importlib

from tinyvit.diagnosis.probe import Broken, Missing


def on_cpu() -> str:
    from tinyvit.device import CPU

    return f"works in {_trained(CPU)}"


def on_gpu(precision: str = "float32") -> str:
    from tinyvit import gpu

    try:
        chosen = gpu.choose(gpu.find_gpus(), None)
    except gpu.BrokenGPU as error:
        raise Broken(str(error).split(": python -m")[0], "mend what is missing above") from error
    except gpu.NoGPU as error:
        raise Missing("no GPU that can be used", "training will run on the CPU") from error
    if precision != "float32" and chosen.capability < gpu.TENSOR_CORES:
        raise Missing(f"{chosen.name} has no tensor cores for {precision}", "leave --precision out")
    return f"{chosen.name} works in {_trained(gpu.use(chosen, precision))}"


def _trained(device) -> str:
    """Train a small model for a step on ``device``, which runs every kernel; the precision that it computed in."""
    from tinyvit.models import ViT, ViTConfig
    from tinyvit.training import Recipe
    from tinyvit.training.step import TrainStep, read
    from tinyvit.training.workers import Workers

    np = importlib.import_module("numpy")
    config = ViTConfig(image_size=8, patch_size=4, channels=3, width=32, depth=2, heads=2, mlp_width=64, classes=5)
    images = device.put(np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 3)), device.dtype)
    labels = device.put(np.arange(4))
    with Workers(1) as workers:
        step = TrainStep(ViT(config), Recipe(), workers, device)
        first, second = read([step(images, labels, number, 1e-2) for number in range(2)])
    # Every class starts out equally likely, and a step makes the right ones likelier.
    if not (abs(first.loss - np.log(config.classes)) < 0.02 and second.loss < first.loss):
        wrong = f"{device.name} computes losses of {first.loss} and {second.loss} in {device.precision}"
        raise Broken(wrong, "this must not be: report it with all of this")
    return device.precision
