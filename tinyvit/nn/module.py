"""Module: the parameters of a layer are found by walking its attributes; nothing is registered."""

from collections.abc import Iterator
from typing import Self

from tinyvit.autograd import Tensor
from tinyvit.device import Device


class Module:
    """A layer or a model. Parameters are the attributes that are Tensors with ``requires_grad``, those of attributes
    that are Modules, and of lists of Modules, in the order in which they were set."""

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Every parameter with its dotted name, such as ``blocks.0.attention.qkv.weight``."""
        for name, value in vars(self).items():
            path = f"{prefix}{name}"
            if isinstance(value, Tensor) and value.requires_grad:
                yield path, value
            elif isinstance(value, Module):
                yield from value.named_parameters(f"{path}.")
            elif isinstance(value, list):
                for i, item in enumerate(value):
                    if isinstance(item, Module):
                        yield from item.named_parameters(f"{path}.{i}.")

    def constants(self) -> Iterator[Tensor]:
        """Every Tensor that is not learned, such as a fixed position embedding."""
        for value in vars(self).values():
            if isinstance(value, Tensor) and not value.requires_grad:
                yield value
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, Module):
                    yield from item.constants()

    def parameters(self) -> list[Tensor]:
        """Every parameter, in the order of :meth:`named_parameters`."""
        return [parameter for _, parameter in self.named_parameters()]

    def to(self, device: Device) -> Self:
        """This module, after moving its parameters and constants to ``device`` and converting them to its type."""
        for tensor in (*self.parameters(), *self.constants()):
            tensor.data = device.put(tensor.data, device.dtype)
        return self

    @property
    def num_parameters(self) -> int:
        """How many numbers there are to learn."""
        return sum(parameter.size for parameter in self.parameters())
