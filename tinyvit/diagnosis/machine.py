"""Probes of what tinyvit needs everywhere."""

import importlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

from tinyvit.diagnosis.probe import Broken, Missing

PACKAGES = {"Pillow": "PIL", "matplotlib": "matplotlib", "safetensors": "safetensors", "tqdm": "tqdm"}


def tinyvit() -> str:
    import tinyvit

    try:
        version = importlib.metadata.version("tinyvit")
    except importlib.metadata.PackageNotFoundError:
        version = "not installed, but found"
    return f"{version} in {Path(tinyvit.__file__).parent}"


def python() -> str:
    return f"{platform.python_version()} on {platform.system()} {platform.machine()}"


def numpy() -> str:
    from threadpoolctl import threadpool_info

    from tinyvit.benchmark.machine import blas

    module = importlib.import_module("numpy")
    module.ones((2, 2)) @ module.ones((2, 2))
    threads = [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]
    said = f", {_count(max(threads), 'thread')}" if threads else ""
    return f"{module.__version__} with {blas()}{said}"


def packages() -> str:
    for package, module in PACKAGES.items():
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise Missing(f"{package} is not installed", f"pip install {package.lower()}") from error
        except Exception as error:
            advice = f"pip install --force-reinstall {package.lower()}"
            raise Broken(f"{package} cannot be loaded ({error})", advice) from error
    return ", ".join(f"{package} {importlib.metadata.version(package)}" for package in PACKAGES)


def processor() -> str:
    from tinyvit.benchmark.machine import processor as name
    from tinyvit.training.workers import available_cores

    return f"{name()}, {_count(available_cores(), 'core')} for tinyvit"


def memory() -> str:
    if not hasattr(os, "sysconf"):
        return "of unknown size"
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.1f} GB"


def cpp_compiler() -> str:
    from tinyvit.kernels.cuda_on_cpu.compiler import NoCompiler, compiler

    advice = "install g++ or clang++ to run the CUDA kernels without a GPU; training does not need it"
    try:
        command = compiler()
    except NoCompiler as error:
        raise Missing("no C++ compiler", advice) from error
    said = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=30)
    if said.returncode or not said.stdout:
        raise Broken(f"{' '.join(command)} --version fails ({said.stderr})", advice)
    return f"{said.stdout.splitlines()[0]}; with it the CUDA kernels run without a GPU"


def pytorch() -> str:
    from tinyvit.benchmark.machine import torch_version

    if not (version := torch_version()):
        raise Missing("not installed", "pip install -e '.[parity]' if python -m tinyvit.bench shall compare with it")
    return f"{version}; python -m tinyvit.bench compares with it"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
