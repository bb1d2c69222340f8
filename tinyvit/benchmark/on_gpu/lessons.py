"""The steps of each headline kernel, as the book tells them, timed next to what training uses."""

from collections.abc import Callable

import numpy as np

from tinyvit import kernels
from tinyvit.benchmark.on_gpu import timing
from tinyvit.benchmark.on_gpu.clocks import Clock, seconds_a_call
from tinyvit.benchmark.on_gpu.timing import Sizes, Timing, random_array
from tinyvit.device import Device
from tinyvit.kernels.gpu.lessons import attention, layer_norm, matmul
from tinyvit.kernels.gpu.matrix_product import matrix_product

MATMUL_STEPS = (matmul.matmul_naive, matmul.matmul_tiles, matmul.matmul_registers, matmul.matmul_tensor_cores)


def time_lessons(device: Device, clock: Clock, sizes: Sizes) -> dict[str, Timing]:
    """In float32, and in the type of the device where that is another."""
    found = {}
    for dtype in dict.fromkeys((np.dtype(np.float32), device.dtype)):
        for one in (_layer_norm, _attention, _matmul):
            found |= {
                f"{name}, {dtype}": Timing(seconds_a_call(call, clock), flop, moved)
                for name, (call, flop, moved) in one(device, sizes, dtype).items()
            }
    return found


Lesson = dict[str, tuple[Callable[[], object], int, int]]
"""What it is -> how to run it, its FLOP, and the bytes that must move."""


def _layer_norm(device: Device, sizes: Sizes, dtype: np.dtype) -> Lesson:
    x = random_array(device, sizes.rows, sizes.width, dtype=dtype)
    gamma, beta = (random_array(device, sizes.width, dtype=dtype) for _ in range(2))
    steps = {step.__name__: step for step in layer_norm.STEPS} | {"training": kernels.layer_norm_forward}
    return {
        f"layer norm: {name}": (lambda step=step: step(x, gamma, beta, 1e-6), 0, 2 * x.nbytes)
        for name, step in steps.items()
    }


def _attention(device: Device, sizes: Sizes, dtype: np.dtype) -> Lesson:
    qkv = random_array(device, sizes.batch, sizes.tokens, 3 * sizes.width, dtype=dtype)
    calls = {step.__name__: lambda step=step: step(qkv, sizes.heads) for step in attention.STEPS}
    calls["training"] = lambda: kernels.attention_forward(qkv, sizes.heads, sizes.tokens)
    return {f"attention: {name}": (call, 2 * sizes.attention_flop, 0) for name, call in calls.items()}


def _matmul(device: Device, _: Sizes, dtype: np.dtype) -> Lesson:
    side = timing.LESSON_SIDE
    a, b = (random_array(device, side, side, dtype=dtype) for _ in range(2))
    steps = [step for step in MATMUL_STEPS if step is not matmul.matmul_tensor_cores or dtype != np.float32]
    calls = {step.__name__: lambda step=step: step(a, b) for step in steps}
    calls["training (cuBLAS)"] = lambda: matrix_product(a, b)
    return {f"matmul: {name}": (call, 2 * side**3, 0) for name, call in calls.items()}
