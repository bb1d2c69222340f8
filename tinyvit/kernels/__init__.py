"""The maths: arrays in, arrays out, forward and backward written by hand. Knows nothing of graphs.

``KERNELS`` is the one table of names; every function in it is reached as ``kernels.<name>(array, ...)``, and the type
of the first argument that is not None picks who computes: NumPy arrays go to ``cpu/``, CuPy arrays to ``gpu/``, file
for file and name for name the same. Within ``with kernels.using("gpu")`` NumPy arrays go to ``gpu/`` too, whose CUDA
then runs on the CPU (``cuda_on_cpu``). May import device, errors and files only.
"""

import contextlib
import contextvars
import functools
import importlib
from collections.abc import Callable, Iterator

from tinyvit.device import is_gpu_array

KERNELS: dict[str, tuple[str, ...]] = {
    "adamw": ("adamw_step",),
    "attention": ("attention_forward", "attention_backward", "attention_weights"),
    "clip_scale": ("clip_scale",),
    "dropout": ("dropout_forward", "dropout_backward"),
    "erf": ("erf",),
    "gelu": ("gelu_forward", "gelu_backward"),
    "layer_norm": (
        "layer_norm_forward",
        "layer_norm_backward",
        "add_layer_norm_forward",
        "add_layer_norm_backward",
    ),
    "linear": ("linear_forward", "linear_backward"),
    "mlp": ("mlp_forward", "mlp_backward"),
    "sgd": ("sgd_step",),
    "sigmoid_cross_entropy": ("sigmoid_cross_entropy_forward", "sigmoid_cross_entropy_backward"),
    "softmax": ("softmax_forward", "softmax_backward"),
    "softmax_cross_entropy": ("softmax_cross_entropy_forward", "softmax_cross_entropy_backward"),
    "squared_norm": ("squared_norm",),
}
"""File name -> the kernels in it, the same below cpu/ and gpu/."""

BACKENDS: dict[str, str] = {"cpu": "tinyvit.kernels.cpu", "gpu": "tinyvit.kernels.gpu"}
"""Backend -> the package that holds its kernels."""


_backend_for_all: contextvars.ContextVar[str | None] = contextvars.ContextVar("backend_for_all", default=None)


@contextlib.contextmanager
def using(backend: str) -> Iterator[None]:
    """Within this block (and this thread) ``backend`` computes, whatever the type of the arrays."""
    token = _backend_for_all.set(backend)
    try:
        yield
    finally:
        _backend_for_all.reset(token)


def _by_type_of_first_argument(file: str, name: str) -> Callable:
    cpu_kernel = getattr(importlib.import_module(f"{BACKENDS['cpu']}.{file}"), name)

    @functools.wraps(cpu_kernel)
    def kernel(*args, **kwargs):
        first = next((argument for argument in args if argument is not None), None)
        if (_backend_for_all.get() or ("gpu" if is_gpu_array(first) else "cpu")) == "cpu":
            return cpu_kernel(*args, **kwargs)
        if "gpu" not in BACKENDS:
            raise TypeError(f"{name} got a CuPy array, but this version has kernels for {', '.join(BACKENDS)} only")
        return getattr(importlib.import_module(f"{BACKENDS['gpu']}.{file}"), name)(*args, **kwargs)

    return kernel


for _file, _names in KERNELS.items():
    for _name in _names:
        globals()[_name] = _by_type_of_first_argument(_file, _name)

__all__ = ["BACKENDS", "KERNELS", "using", *(name for names in KERNELS.values() for name in names)]
