"""The table of kernels, what is in the files, and the one place that picks a backend."""

import importlib
import inspect
import pkgutil

import numpy as np
import pytest

from tinyvit import device, kernels
from tinyvit.kernels import BACKENDS, KERNELS

# Public, but shared between kernels: each backend does such things in its own way, or not at all.
HELPER_FILES = {
    "cpu": {"blocks", "sums"},
    "gpu": {
        "columns",
        "compile_gate",
        "headers",
        "heads",
        "launch",
        "lessons",
        "matrix_product",
        "optimizer",
        "shapes",
        "sums",
        "tensor_core_attention",
        "tf32",
        "total",
        "vectors",
    },
}
HELPERS = {
    "cpu": {"erf": {"half_erfc"}},
    "gpu": {"gelu": {"gelu_constants"}, "linear": {"add_bias", "contiguous_rows"}},
}


def functions_of(backend: str) -> dict[str, set[str]]:
    """File -> its public functions, for every file of a backend."""
    package = importlib.import_module(BACKENDS[backend])
    found = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{BACKENDS[backend]}.{info.name}")
        found[info.name] = {
            name
            for name, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
        }
    return found


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_table_is_what_the_files_hold(backend):
    """Both ways: every name is there, and there is no public function besides. A further backend mirrors the first."""
    if backend == "gpu":
        pytest.importorskip("cupy", reason="the CUDA kernels need CuPy to be imported")
    found = {file: names for file, names in functions_of(backend).items() if file not in HELPER_FILES.get(backend, ())}
    helpers = HELPERS.get(backend, {})
    assert {file: names - helpers.get(file, set()) for file, names in found.items()} == {
        file: set(names) for file, names in KERNELS.items()
    }


def test_every_backend_folder_is_in_the_table():
    folders = {info.name for info in pkgutil.iter_modules(kernels.__path__) if info.ispkg}
    assert folders - {"cuda_on_cpu"} == set(BACKENDS)


def test_every_kernel_is_reached_by_name():
    for file, names in KERNELS.items():
        for name in names:
            reached = getattr(kernels, name)
            original = getattr(importlib.import_module(f"tinyvit.kernels.cpu.{file}"), name)
            assert reached.__wrapped__ is original and reached.__doc__ == original.__doc__
            assert name in kernels.__all__


def test_forward_and_backward_come_in_pairs():
    names = {name for names in KERNELS.values() for name in names}
    assert {n.removesuffix("_forward") for n in names if n.endswith("_forward")} == {
        n.removesuffix("_backward") for n in names if n.endswith("_backward")
    }


def test_a_gpu_array_without_gpu_kernels_is_a_clear_error(monkeypatch):
    monkeypatch.setattr(kernels, "is_gpu_array", lambda array: True)
    monkeypatch.setattr(kernels, "BACKENDS", {"cpu": BACKENDS["cpu"]})
    with pytest.raises(
        TypeError, match=r"^softmax_forward got a CuPy array, but this version has kernels for cpu only$"
    ):
        kernels.softmax_forward(np.ones(3))


def test_the_type_of_the_first_argument_picks_the_backend(monkeypatch):
    """A second backend, here the CPU's under another name, is reached by arrays of the other kind, and only by them."""
    monkeypatch.setattr(kernels, "is_gpu_array", lambda array: array.dtype == np.float16)
    monkeypatch.setattr(kernels, "BACKENDS", {**BACKENDS, "gpu": "tinyvit.kernels.cpu"})
    from tinyvit.kernels.cpu import softmax

    monkeypatch.setattr(softmax, "softmax_forward", lambda x, out=None: "the other backend")
    assert kernels.softmax_forward(np.zeros(2, np.float16)) == "the other backend"
    np.testing.assert_array_equal(kernels.softmax_forward(np.zeros(2)), [0.5, 0.5])


def test_numpy_arrays_are_recognised_without_cupy():
    assert device.is_array(np.zeros(1)) and not device.is_array([1.0])
    assert not device.is_gpu_array(np.zeros(1))
    assert device.array_module(np.zeros(1)) is np
