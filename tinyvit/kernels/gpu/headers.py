"""Where the headers of CUDA are that the kernels include."""

import functools


@functools.cache
def header_folders() -> tuple[str, ...]:
    """The folders of CUDA's headers, empty without CuPy.

    CuPy knows the first of them by itself. mma.h is there, but includes crt/mma.h, which NVIDIA's packages for CUDA 12
    have in another folder, that of the compiler.
    """
    try:
        from cuda import pathfinder  # comes with CuPy
    except ImportError:
        return ()
    found = (pathfinder.find_nvidia_header_directory(name) for name in ("cudart", "nvcc"))
    return tuple(dict.fromkeys(folder for folder in found if folder))
