"""Proof that both libraries compute the same on the GPU: loss and gradients, next to PyTorch's in float64."""

import dataclasses

import numpy as np

from tinyvit import autograd
from tinyvit.benchmark.on_gpu.our_kernels import use
from tinyvit.benchmark.process import in_own_process
from tinyvit.benchmark.rows import Row, randomise
from tinyvit.device import to_numpy
from tinyvit.errors import InputError
from tinyvit.models import ViT
from tinyvit.training.flat import FlatParameters
from tinyvit.training.step import smoothed

IMAGES = 16
# Precision -> up to which errors of the loss, the gradient and the worst parameter's a model is the same. PyTorch's own
# in float32 are 1e-7, 1e-6 and 1e-6 for tiny, and with all in bfloat16 3e-4, 1e-2 and 0.15.
TOLERANCES = {"float32": (1e-5, 1e-4, 1e-3), "tf32": (2e-3, 2e-2, 0.1), "bfloat16": (1e-2, 5e-2, 0.3)}

Found = tuple[float, dict[str, np.ndarray]]
"""A loss, and the gradient of each parameter by tinyvit's name of it."""


@dataclasses.dataclass(frozen=True)
class Errors:
    """How far from float64, relative to what is right.

    Attributes:
        loss: of the loss.
        gradient: of the gradient of all parameters, as one vector.
        worst: of the one parameter that is worst.
        parameter: its name.
    """

    loss: float
    gradient: float
    worst: float
    parameter: str


@dataclasses.dataclass(frozen=True)
class Agreement:
    """The errors of both libraries for one model in one precision."""

    name: str
    precision: str
    ours: Errors
    theirs: Errors

    @property
    def holds(self) -> bool:
        """Whether tinyvit's errors are those of rounding. A number that is none holds nothing."""
        loss, gradient, worst = TOLERANCES[self.precision]
        return self.ours.loss <= loss and self.ours.gradient <= gradient and self.ours.worst <= worst


def check_agreement(rows: list[Row], number: int, precision: str) -> list[Agreement]:
    """Both libraries' errors for each row, in float32 and in the precision that is timed.

    Raises:
        InputError: PyTorch cannot use the GPU.
    """
    in_own_process(_try_torch, number)  # before any work is done in vain
    precisions = list(dict.fromkeys(("float32", precision)))
    found = []
    for row in rows:
        ours = {name: in_own_process(our_gradients, row, number, name) for name in precisions}
        errors = in_own_process(_errors_of_both, row, number, ours)
        found += [Agreement(row.name, name, *errors[name]) for name in precisions]
    return found


def refuse_disagreement(found: list[Agreement]) -> None:
    """Stop where the two do not compute the same.

    Raises:
        InputError: tinyvit's errors are larger than rounding explains.
    """
    for one in found:
        if not one.holds:
            raise InputError(
                f"{one.name} in {one.precision}: tinyvit's loss is off by {one.ours.loss:.1e} and its gradient by "
                f"{one.ours.gradient:.1e} (that of {one.ours.parameter} by {one.ours.worst:.1e}), so timing it would "
                "mean nothing; "
                "python -m pytest -m gpu says which kernel is wrong, --no-torch times it all the same"
            )


def our_gradients(row: Row, number: int, precision: str) -> Found:
    """tinyvit's, with random weights."""
    device = use(number, precision)
    model = ViT(row.config)
    randomise(model)
    FlatParameters(model, device)
    images, labels = (array[:IMAGES] for array in row.batch())
    logits = model(device.put(images, device.dtype))
    loss = autograd.softmax_cross_entropy(logits, smoothed(device.put(labels), row.config.classes, 0.0))
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = (to_numpy(gradient).astype(np.float32) for gradient in autograd.gradients(loss, parameters))
    return float(to_numpy(loss.data)), dict(zip(names, found, strict=True))


def errors(found: Found, right: Found) -> Errors:
    """How far ``found`` is from ``right``; the gradients of both are in one layout."""
    differences = {name: np.linalg.norm((gradient - right[1][name]).ravel()) for name, gradient in found[1].items()}
    lengths = {name: np.linalg.norm(right[1][name].ravel()) for name in found[1]}
    each = {name: differences[name] / max(lengths[name], np.finfo(np.float32).tiny) for name in differences}
    parameter = max(each, key=each.get)
    whole = np.linalg.norm(list(differences.values())) / np.linalg.norm(list(lengths.values()))
    return Errors(abs(found[0] - right[0]) / abs(right[0]), float(whole), float(each[parameter]), parameter)


def _try_torch(number: int) -> None:
    from tinyvit.benchmark.on_gpu import torch_device

    torch_device.use(number, "float32")


def _errors_of_both(row: Row, number: int, ours: dict[str, Found]) -> dict[str, tuple[Errors, Errors]]:
    """Precision -> tinyvit's errors and PyTorch's own: for a process of its own."""
    from tinyvit.benchmark.on_gpu import torch_device
    from tinyvit.benchmark.on_gpu.torch_gradients import torch_gradients
    from tinyvit.benchmark.torch_model import to_torch

    right = torch_gradients(row, torch_device.use(number, "float32"), "float64", IMAGES)
    both = {}
    for precision, (loss, gradients) in ours.items():
        in_their_layout = {
            name: to_torch(name, gradient, row.config).reshape(right[1][name].shape)
            for name, gradient in gradients.items()
        }
        found = loss, in_their_layout
        device = torch_device.use(number, precision)
        both[precision] = (errors(found, right), errors(torch_gradients(row, device, precision, IMAGES), right))
    return both
