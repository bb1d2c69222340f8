"""Batches on the device that computes."""

from collections.abc import Iterator

from tinyvit.data.loader import Loader
from tinyvit.device import Device


def device_batches(loader: Loader, epoch: int, start: int, device: Device) -> Iterator[tuple]:
    """The batches of ``loader.batches(epoch, start)`` as arrays on ``device``, images in its type."""
    for images, targets in loader.batches(epoch, start):
        yield device.put(images, device.dtype), device.put(targets)
