"""PyTorch on a GPU, set up as its users do for each precision."""

import torch

from tinyvit.benchmark.on_gpu.clocks import CYCLES_A_SECOND
from tinyvit.errors import InputError


def use(number: int, precision: str) -> torch.device:
    """GPU ``number``, with matrix products and convolutions of float32 numbers in TF32 unless that is the precision.

    Raises:
        InputError: PyTorch cannot use a GPU.
    """
    if not torch.cuda.is_available():
        reason = "cannot use the GPU" if torch.version.cuda else "was built without CUDA"
        raise InputError(f"PyTorch {torch.__version__} {reason}: install a build that can, or give --no-torch")
    torch.cuda.set_device(number)
    torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")
    torch.backends.cudnn.allow_tf32 = precision != "float32"
    torch.backends.cudnn.benchmark = True
    return torch.device("cuda", number)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """For bfloat16 automatic mixed precision: parameters stay float32, products are made of bfloat16 numbers."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def storage(precision: str) -> torch.dtype:
    """The type in which images lie on the GPU."""
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


class TorchClock:
    """The Clock of PyTorch's current GPU and stream."""

    def synchronize(self) -> None:
        torch.cuda.synchronize()

    def spin(self, seconds: float) -> None:
        torch.cuda._sleep(int(seconds * CYCLES_A_SECOND))  # PyTorch's own tests wait with it

    def mark(self):
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, start, end) -> float:
        return start.elapsed_time(end) / 1e3
