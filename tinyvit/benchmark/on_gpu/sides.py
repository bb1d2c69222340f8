"""The two sides of a comparison on a GPU, as what a measuring process runs: training steps queued and timed."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator

from tinyvit import gpu
from tinyvit.benchmark.breakdown import Part
from tinyvit.benchmark.on_gpu.breakdown import breakdown
from tinyvit.benchmark.on_gpu.clocks import Clock, CupyClock
from tinyvit.benchmark.on_gpu.memory import peak_bytes
from tinyvit.benchmark.on_gpu.our_kernels import use
from tinyvit.benchmark.rows import Row
from tinyvit.benchmark.sides import CLIP, LEARNING_RATE, WEIGHT_DECAY
from tinyvit.errors import InputError
from tinyvit.models import ViT
from tinyvit.runtime import keep_freed_memory
from tinyvit.training import Recipe
from tinyvit.training.step import TrainStep, read
from tinyvit.training.workers import Workers

QUEUED_STEPS = 5


class GPUSide:
    """A model in training on one batch that lies on the GPU.

    A subclass makes the model in ``__init__`` and sets ``clock``, ``step`` and ``loss``.
    """

    clock: Clock
    step: Callable[[], None]
    """Queue one training step; nothing in it waits for the GPU."""
    loss: Callable[[], float]
    """The loss of the last step; waits for the GPU."""

    def turn(self, steps: int) -> dict[str, float]:
        """Take so many steps, as fast as they go. Gives seconds a step, from an idle GPU to an idle GPU."""
        with told_plainly():
            self.clock.synchronize()
            start = time.perf_counter()
            for _ in range(steps):
                self.step()
            self.clock.synchronize()
            return {"seconds": (time.perf_counter() - start) / steps}

    def queueing(self) -> float:
        """Seconds that Python takes to queue a step while the GPU is idle: no step can be shorter than this."""
        seconds = []
        for _ in range(QUEUED_STEPS):
            self.clock.synchronize()
            start = time.perf_counter()
            self.step()
            seconds.append(time.perf_counter() - start)
        self.clock.synchronize()
        return statistics.median(seconds)


class OursOnGPU(GPUSide):
    """tinyvit, as the train command runs it."""

    def __init__(self, row: Row, number: int, precision: str):
        keep_freed_memory()
        with told_plainly():
            self.device = use(number, precision)
            self.clock = CupyClock(self.device.xp)
            recipe = Recipe(
                weight_decay=WEIGHT_DECAY, clip=CLIP, batch_size=row.batch_size, workers=1, precision=precision
            )
            workers = Workers(1).__enter__()  # until the process ends
            train = TrainStep(ViT(row.config, seed=0), recipe, workers, self.device)
            images, labels = row.batch()
            images, labels = self.device.put(images, self.device.dtype), self.device.put(labels)
        self._steps = 0

        def step() -> None:
            self._result = train(images, labels, self._steps, LEARNING_RATE)
            self._steps += 1

        self.step = step
        self.loss = lambda: read([self._result])[0].loss

    def memory(self) -> dict[str, int]:
        """Bytes: the most that arrays took in a step, and what CuPy's pool holds."""
        allocated = peak_bytes(self.device.xp, self.step)
        self.clock.synchronize()
        return {"allocated": allocated, "reserved": self.device.xp.get_default_memory_pool().total_bytes()}

    def breakdown(self, repeats: int) -> list[Part]:
        """The parts of a step; see :func:`tinyvit.benchmark.on_gpu.breakdown.breakdown`."""
        return breakdown(self.step, self.clock, repeats, self.queueing())


class TheirsOnGPU(GPUSide):
    """PyTorch, with the same weights at the start and the same batch.

    As its users write it: automatic mixed precision over float32 parameters for bfloat16, channels last, the fused
    attention, the fused AdamW. Images lie on the GPU in the type that the first layer takes.
    """

    def __init__(self, row: Row, number: int, precision: str, compiled: bool):
        import torch

        from tinyvit.benchmark.on_gpu import torch_device
        from tinyvit.benchmark.torch_model import TorchViT, optimizer

        with told_plainly():
            device = torch_device.use(number, precision)
            self.clock, self._torch = torch_device.TorchClock(), torch
            network = TorchViT(row.config)
            network.load(ViT(row.config, seed=0))
            network = network.to(device, memory_format=torch.channels_last)
            adamw = optimizer(network, LEARNING_RATE, WEIGHT_DECAY, fused=True)
            model = torch.compile(network) if compiled else network
            images, labels = (torch.from_numpy(array).to(device) for array in row.batch())
            # (B, C, H, W), with channels last in memory: as they lie already.
            images = images.permute(0, 3, 1, 2).to(torch_device.storage(precision))

        def step() -> None:
            adamw.zero_grad()
            with torch_device.autocast(device, precision):
                self._loss = torch.nn.functional.cross_entropy(model(images), labels)
            self._loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            adamw.step()

        self.step = step
        self.loss = lambda: self._loss.item()

    def memory(self) -> dict[str, int]:
        """Bytes: the most that tensors took in a step, and what PyTorch's allocator holds."""
        cuda = self._torch.cuda
        cuda.reset_peak_memory_stats()
        self.step()
        self.clock.synchronize()
        return {"allocated": cuda.max_memory_allocated(), "reserved": cuda.memory_reserved()}


@contextlib.contextmanager
def told_plainly() -> Iterator[None]:
    """Within this block errors of CuPy and PyTorch that a user can mend become such as any process understands.

    Raises:
        MemoryError: the GPU's memory is not enough.
        InputError: torch.compile does not work here.
    """
    try:
        yield
    except Exception as error:
        kind = type(error)
        if (reason := gpu.memory_error(error)) is not None:
            raise MemoryError(reason) from None
        if kind.__name__ == "OutOfMemoryError":  # PyTorch's
            raise MemoryError(f"the GPU is out of memory: {error}") from None
        if kind.__module__.startswith(("torch._dynamo", "torch._inductor")):
            reason = f"{kind.__name__}: {str(error).strip().splitlines()[0]}"
            raise InputError(f"torch.compile failed here ({reason}): --no-compile leaves it out") from None
        raise
