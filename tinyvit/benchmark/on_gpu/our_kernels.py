"""tinyvit's kernels on a GPU, one by one: a function for a process of its own."""

import numpy as np

from tinyvit import gpu, kernels
from tinyvit.benchmark.on_gpu import timing
from tinyvit.benchmark.on_gpu.clocks import CupyClock, seconds_a_call, seconds_a_launch
from tinyvit.benchmark.on_gpu.lessons import time_lessons
from tinyvit.benchmark.on_gpu.timing import Sizes, Timing, Timings, random_array
from tinyvit.device import Device
from tinyvit.kernels.gpu.launch import launch
from tinyvit.kernels.gpu.matrix_product import matrix_product

NOTHING = 'extern "C" __global__ void nothing(const float* a, const float* b, float c, float* d) {}'


def use(number: int, precision: str) -> Device:
    """GPU ``number`` as this process's own."""
    return gpu.use(gpu.choose(gpu.find_gpus(), number), precision)


def time_our_kernels(sizes: list[Sizes], number: int, precision: str) -> Timings:
    """What training is made of, each kernel at the sizes of each model, the machine's ceilings, and the lessons."""
    device = use(number, precision)
    clock = CupyClock(device.xp)
    found: Timings = {"launches": _launches(device, clock), "products": {}, "attention": {}, "layer norm": {}}
    found["ceilings"] = _ceilings(device, clock)
    for one in sizes:
        found["products"] |= _products(device, clock, one)
        found["attention"] |= _attention(device, clock, one)
        found["layer norm"] |= _layer_norm(device, clock, one)
    found["lessons"] = time_lessons(device, clock, sizes[-1])
    return found


def _launches(device: Device, clock: CupyClock) -> dict[str, Timing]:
    """What Python pays for a launch: to CuPy alone, and with the checks of our launch."""
    xp = device.xp
    one, scale, number = xp.ones((), np.float32), xp.empty((), np.float32), np.float32(1)
    nothing = xp.RawKernel(NOTHING, "nothing")
    return {
        "a kernel of four arguments, by RawKernel": Timing(
            seconds_a_launch(lambda: nothing((1,), (1,), (one, one, number, scale)), clock)
        ),
        "a kernel of four arguments, by our launch": Timing(
            seconds_a_launch(lambda: launch("clip_scale", "clip_scale", (1,), (1,), (one, one, 1.0, scale)), clock)
        ),
        "an operation of the library (x + y)": Timing(seconds_a_launch(lambda: one + scale, clock)),
    }


def _ceilings(device: Device, clock: CupyClock) -> dict[str, Timing]:
    side, xp = timing.SIDE, device.xp
    found = _orientations(device, clock, f"{side} x {side} x {side}", side, side, side)
    source = xp.ones(timing.NUMBERS, device.dtype)
    target = xp.empty_like(source)

    def copy() -> None:
        target[...] = source

    found["copy"] = Timing(seconds_a_call(copy, clock), bytes=2 * source.nbytes)
    return found


def _orientations(device, clock, name: str, rows: int, inputs: int, outputs: int) -> dict[str, Timing]:
    """The three products of a linear layer: forward, the input's gradient, the weight's gradient."""
    x, dout, weight = (random_array(device, *shape) for shape in ((rows, inputs), (rows, outputs), (inputs, outputs)))
    flop = 2 * rows * inputs * outputs
    calls = {
        "x W": lambda: matrix_product(x, weight),
        "dy W^T": lambda: matrix_product(dout, weight, transpose_b=True),
        "x^T dy": lambda: matrix_product(x, dout, transpose_a=True),
    }
    return {f"{name}, {which}": Timing(seconds_a_call(call, clock), flop) for which, call in calls.items()}


def _products(device: Device, clock: CupyClock, sizes: Sizes) -> dict[str, Timing]:
    found = {}
    for name, inputs, outputs in sizes.products():
        found |= _orientations(device, clock, name, sizes.rows, inputs, outputs)
    return found


def _attention(device: Device, clock: CupyClock, sizes: Sizes) -> dict[str, Timing]:
    qkv = random_array(device, sizes.batch, sizes.tokens, 3 * sizes.width)
    dout = random_array(device, sizes.batch, sizes.tokens, sizes.width)

    def forward():
        return kernels.attention_forward(qkv, sizes.heads, sizes.tokens)

    def both():
        out, *saved = forward()
        return kernels.attention_backward(dout, qkv, *saved, out, sizes.heads)

    return {
        f"{sizes.name}: forward": Timing(seconds_a_call(forward, clock), 2 * sizes.attention_flop),
        f"{sizes.name}: forward and backward": Timing(seconds_a_call(both, clock), 6 * sizes.attention_flop),
    }


def _layer_norm(device: Device, clock: CupyClock, sizes: Sizes) -> dict[str, Timing]:
    """With the bytes that must move: each array of activations once."""
    x, branch = (random_array(device, sizes.rows, sizes.width) for _ in range(2))
    gamma, beta, eps = random_array(device, sizes.width), random_array(device, sizes.width), 1e-6
    _, *saved = kernels.layer_norm_forward(x, gamma, beta, eps)

    def copy() -> None:
        branch[...] = x

    calls = {
        "a copy of x": (copy, 2),
        "forward": (lambda: kernels.layer_norm_forward(x, gamma, beta, eps), 2),
        "backward": (lambda: kernels.layer_norm_backward(branch, *saved, gamma), 3),
        "x + branch and its norm": (lambda: kernels.add_layer_norm_forward(x, branch, gamma, beta, eps), 4),
        "x + branch and its norm, backward": (
            lambda: kernels.add_layer_norm_backward(branch, x, *saved, gamma),
            4,
        ),
    }
    return {
        f"{sizes.name}: {name}": Timing(seconds_a_call(call, clock), bytes=arrays * x.nbytes)
        for name, (call, arrays) in calls.items()
    }
