"""Batches on the device that computes: a GPU gets them, and augments them, while it works on earlier ones."""

import contextlib
import functools
from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinyvit.data.loader import Loader
from tinyvit.device import Device

AHEAD = 3  # batches that lie ready on the GPU, or are being made
BUFFERS = 2  # one is filled by the processor while the GPU reads the other


def device_batches(loader: Loader, epoch: int, start: int, device: Device) -> Iterator[tuple]:
    """The batches of ``loader.batches(epoch, start)`` as arrays on ``device``, images in its type.

    On a GPU the caller's thread waits for nothing; a batch is the caller's until the next one is asked for.
    """
    return _gpu_batches(loader, epoch, start, device) if device.is_gpu else loader.batches(epoch, start)


def _gpu_batches(loader: Loader, epoch: int, start: int, device: Device) -> Iterator[tuple]:
    cupy = device.xp
    maker = _Maker(loader, epoch, device)
    try:
        with contextlib.closing(loader.ahead(maker.make, epoch, start, AHEAD)) as batches:
            for images, targets, made in batches:
                computing = cupy.cuda.get_current_stream()
                computing.wait_event(made)
                try:
                    yield images, targets
                finally:
                    # All that reads this batch is queued by now, though hardly any of it is done. The batch's memory
                    # goes back to the stream that it came from, which may fill it with another batch at once. So that
                    # stream must wait for the readers; and be told so before the memory is free, which the loop's own
                    # references put off until the next batch takes their place.
                    maker.stream.wait_event(computing.record(cupy.cuda.Event(disable_timing=True)))
    finally:
        maker.close()


class _Maker:
    """Makes batches on a stream of their own, in the loader's thread."""

    def __init__(self, loader: Loader, epoch: int, device: Device):
        self.loader, self.epoch, self.device = loader, epoch, device
        cupy = device.xp
        self.gpu = cupy.cuda.Device()  # the current one of the computing thread; each thread has its own
        self.stream = _stream(cupy, self.gpu.id)
        count = min(loader.batch_size, len(loader.dataset))
        self.buffers = [_Buffer(cupy, count, loader.dataset.images.shape[1:]) for _ in range(BUFFERS)]

    def make(self, chosen: np.ndarray, index: int) -> tuple:
        """Images and targets of batch ``index``, and the event after which they can be read."""
        cupy, dataset = self.device.xp, self.loader.dataset
        buffer = self.buffers[index % BUFFERS]
        # Only this thread waits. Where the GPU lags, this keeps the training loop from queueing work far ahead of it.
        buffer.copied.synchronize()
        images, labels = buffer.images[: len(chosen)], buffer.labels[: len(chosen)]
        np.take(dataset.images, chosen, axis=0, out=images, mode="clip")  # "raise" would go through another buffer
        np.take(dataset.labels, chosen, out=labels, mode="clip")
        with self.gpu, self.stream:
            copies = cupy.empty(images.shape, images.dtype), cupy.empty(labels.shape, labels.dtype)
            for copy, source in zip(copies, (images, labels), strict=True):
                copy.set(source, self.stream)  # without the stream it would wait
            buffer.copied.record(self.stream)
            images, targets = self.loader.transformed(*copies, self.epoch, index)
            images = images.astype(self.device.dtype, copy=False)
            return images, targets, self.stream.record(cupy.cuda.Event(disable_timing=True))

    def close(self) -> None:
        """Wait until no buffer is read any more: then its memory may be used for something else."""
        for buffer in self.buffers:
            buffer.copied.synchronize()


class _Buffer:
    """Where a batch lies before it is copied: in pinned memory, which alone the GPU can read without the processor.

    Attributes:
        images: uint8 (B, H, W, C).
        labels: int64 (B,).
        copied: the event after which the buffer can be filled again.
    """

    def __init__(self, cupy: ModuleType, count: int, image_shape: tuple[int, ...]):
        self.images = _pinned(cupy, (count, *image_shape), np.dtype(np.uint8))
        self.labels = _pinned(cupy, (count,), np.dtype(np.int64))
        self.copied = cupy.cuda.Event(block=True, disable_timing=True)  # block: to sleep while waiting


def _pinned(cupy: ModuleType, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    memory = cupy.cuda.alloc_pinned_memory(int(np.prod(shape)) * dtype.itemsize)
    return np.ndarray(shape, dtype, buffer=memory)


@functools.cache
def _stream(cupy: ModuleType, gpu: int):
    """The stream on which batches for a GPU are made; non-blocking, so that it runs beside the default one.

    One for the life of the process: CuPy keeps free memory by stream, so what a stream has used is never used by
    another, and would be lost with it.
    """
    return cupy.cuda.Stream(non_blocking=True)
