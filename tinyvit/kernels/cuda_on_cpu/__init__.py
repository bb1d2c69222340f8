"""Runs the .cu files of ``kernels/gpu`` without a GPU: compiled with the system's C++ compiler, one fiber a thread.

For tests, and for readers who want to step through a kernel (:func:`tracing`). A kernel that does what CUDA forbids
ends with a CudaError that names block, threads and lines: races in shared and in global memory, within a block and
between blocks; what is out of bounds, misaligned or written through const; shared memory that nobody wrote; barriers
and operations of a warp that not all reach; threads that wait for ever. Nothing is said about speed: bank conflicts and
uncoalesced access look like any other.

May import device and files only.
"""

from tinyvit.kernels.cuda_on_cpu.compiler import NoCompiler
from tinyvit.kernels.cuda_on_cpu.module import CudaError, Module, turns_in_order
from tinyvit.kernels.cuda_on_cpu.source import Parameter, Source
from tinyvit.kernels.cuda_on_cpu.trace import Event, tracing

__all__ = ["CudaError", "Event", "Module", "NoCompiler", "Parameter", "Source", "tracing", "turns_in_order"]
