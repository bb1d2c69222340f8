"""TF32 is asked for through CuPy's own setting, and taken back."""

import types

import numpy as np
import pytest
from on_device import device_named

from tinyvit.errors import InputError
from tinyvit.kernels.gpu.matrix_product import matrix_product
from tinyvit.kernels.gpu.tf32 import use_tf32

cupy = pytest.importorskip("cupy", reason="needs CuPy, though no GPU")


@pytest.fixture
def settings(monkeypatch) -> list[str]:
    """What CuPy is told, by name, in order; without a GPU CuPy itself could not go on to ask for its age."""
    from cupy._core import _routines_linalg as products

    told = []

    def record(dtype, compute_type) -> None:
        assert np.dtype(dtype) == np.float32
        told.append(products.compute_type_to_str(compute_type))

    monkeypatch.setattr(products, "set_compute_type", record)
    return told


def gpu_of(monkeypatch, capability: str) -> None:
    monkeypatch.setattr(cupy.cuda, "Device", lambda: types.SimpleNamespace(compute_capability=capability))


@pytest.mark.parametrize("capability", ["80", "90", "100"])
def test_it_is_set_and_set_back(monkeypatch, settings, capability):
    gpu_of(monkeypatch, capability)
    with pytest.raises(KeyError), use_tf32():
        assert settings == ["COMPUTE_TYPE_TF32"]
        raise KeyError
    assert settings == ["COMPUTE_TYPE_TF32", "COMPUTE_TYPE_DEFAULT"]


def test_an_older_gpu_is_refused(monkeypatch, settings):
    gpu_of(monkeypatch, "75")
    with pytest.raises(InputError, match=r"this one has 7\.5: use --precision float32"), use_tf32():
        pass
    assert settings == []


@pytest.mark.gpu
def test_products_are_rounded_within_it_only():
    device = device_named("gpu")
    a, b = np.random.default_rng(0).normal(size=(2, 256, 256)).astype(np.float32)
    expected = a.astype(np.float64) @ b

    def error() -> float:
        return np.max(np.abs(device.back(matrix_product(*device.to(a, b))) - expected)) / np.max(np.abs(expected))

    assert error() < 1e-5
    with use_tf32():
        assert 1e-5 < error() < 1e-2
    assert error() < 1e-5
