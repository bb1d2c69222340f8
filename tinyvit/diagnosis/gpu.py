"""Probes of what stands between tinyvit and a GPU: CuPy, and the parts of CUDA that it loads one by one."""

import importlib
import importlib.metadata
from pathlib import Path
from types import ModuleType

from tinyvit.diagnosis.driver import newest_cuda, spelled
from tinyvit.diagnosis.probe import Broken, Missing

CUPY_PACKAGES = ("cupy-cuda13x", "cupy-cuda12x", "cupy-cuda11x", "cupy")
HEADERS = ("cuda_bf16.h", "mma.h", "crt/mma.h")  # the last comes in another package than the others


def cupy() -> str:
    found = _installed()
    if len(found) > 1:
        names = " and ".join(f"{name} {version}" for name, version in found.items())
        raise Broken(f"{names} are both installed", f"pip uninstall {' '.join(found)}, then {_install()}")
    try:
        module = importlib.import_module("cupy")
    except ModuleNotFoundError as error:
        if error.name != "cupy":
            raise Broken(f"CuPy cannot be loaded ({error})", f"{_install()} again") from error
        raise Missing("CuPy is not installed", f"{_install()} if there is a GPU") from error
    except Exception as error:
        raise Broken(f"CuPy cannot be loaded ({error})", f"{_install()} again") from error
    cuda = module.cuda.runtime.runtimeGetVersion()
    try:
        newest = newest_cuda()
    except (Missing, Broken):
        newest = cuda  # the driver has a line of its own
    if cuda // 1000 > newest // 1000:
        advice = f"pip uninstall {' '.join(found)}, then {_install()}"
        raise Broken(f"CuPy is for CUDA {spelled(cuda)}, the driver for {spelled(newest)}", advice)
    return f"{module.__version__} for CUDA {cuda // 1000}"


def nvrtc() -> str:
    module = _cupy()
    try:
        major, minor = module.cuda.nvrtc.getVersion()
    except Exception as error:
        raise Missing("the library that compiles kernels is not found", _install()) from error
    return f"{major}.{minor}"


def cublas() -> str:
    module = _cupy()
    try:
        module.cuda.cublas  # noqa: B018 - this loads it
    except Exception as error:
        raise Missing("the library that multiplies matrices is not found", _install()) from error
    return "found"


def headers() -> str:
    from tinyvit.kernels.gpu.headers import header_folders

    folders = header_folders()
    for name in HEADERS:
        if not any((Path(folder) / name).exists() for folder in folders):
            raise Missing(f"{name} is not found", _install())
    return f"{', '.join(HEADERS)} in {' and '.join(folders)}"


def bfloat16() -> str:
    try:
        return f"ml_dtypes {importlib.import_module('ml_dtypes').__version__}"
    except ModuleNotFoundError as error:
        raise Missing("ml_dtypes is not installed", "pip install ml_dtypes") from error


def _installed() -> dict[str, str]:
    """The packages of CuPy that are installed, and their versions: one is right."""
    found = {}
    for package in CUPY_PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _cupy() -> ModuleType:
    try:
        return importlib.import_module("cupy")
    except Exception as error:
        raise Missing("no CuPy to load it", "see above") from error


def _install() -> str:
    """How CuPy is installed, with all that it needs, for the driver that is there."""
    try:
        newest = newest_cuda()
    except (Missing, Broken):
        return "pip install -e '.[cuda13]' (or cuda12, for a driver older than 580)"
    return f"pip install -e '.[cuda{13 if newest >= 13000 else 12}]'"
