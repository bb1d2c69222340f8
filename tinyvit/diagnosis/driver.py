"""NVIDIA's driver, which knows the GPUs whether or not CuPy is there."""

import ctypes
import sys
from pathlib import Path

from tinyvit.diagnosis.probe import Broken, Missing

OLDEST = 12000  # CUDA 12.0
NO_DEVICE = 100  # an error of the driver
CAPABILITY = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
RELEASE = Path("/proc/driver/nvidia/version")


def library() -> ctypes.CDLL:
    """The driver, started.

    Raises:
        Missing, Broken: there is none, it sees no GPU, or it does not start.
    """
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError as error:
        advice = "install one if this machine has an NVIDIA GPU, else this section does not matter"
        raise Missing("no driver of NVIDIA's", advice) from error
    status = driver.cuInit(0)
    if status == NO_DEVICE:
        raise Missing("the driver sees no GPU", "is CUDA_VISIBLE_DEVICES set to an empty list?")
    if status:
        raise Broken(f"the driver does not start (error {status})", "restart, look at nvidia-smi, or install it again")
    return driver


def newest_cuda() -> int:
    """The newest version of CUDA that the driver takes, such as 13020 for 13.2.

    Raises:
        Missing, Broken: as :func:`library`.
    """
    version = ctypes.c_int()
    library().cuDriverGetVersion(ctypes.byref(version))
    return version.value


def driver() -> str:
    """A probe: its release, and the CUDA that it takes."""
    cuda = newest_cuda()
    if cuda < OLDEST:
        raise Broken(f"the driver takes CUDA up to {spelled(cuda)}", f"install one for CUDA {spelled(OLDEST)} or newer")
    words = RELEASE.read_text().split() if RELEASE.exists() else []
    release = next((word for word in words if word[:1].isdigit() and "." in word), "")
    return f"{release} for CUDA up to {spelled(cuda)}".lstrip()


def gpus() -> list[str]:
    """A probe: a line for each GPU."""
    try:
        driver = library()
    except (Missing, Broken) as error:
        raise Missing("no driver that shows one", "see above") from error
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    return [_described(driver, number) for number in range(count.value)]


def _described(driver: ctypes.CDLL, number: int) -> str:
    device, name, size = ctypes.c_int(), ctypes.create_string_buffer(100), ctypes.c_size_t()
    driver.cuDeviceGet(ctypes.byref(device), number)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(size), device)
    capability = []
    for attribute in CAPABILITY:
        value = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        capability.append(str(value.value))
    words = name.value.decode(errors="replace")
    return f"gpu:{number} is {words}, {size.value / 1e9:.1f} GB, compute capability {'.'.join(capability)}"


def spelled(cuda: int) -> str:
    """13020 -> "13.2"."""
    return f"{cuda // 1000}.{cuda % 1000 // 10}"
