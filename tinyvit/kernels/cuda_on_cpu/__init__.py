"""Runs the .cu files of ``kernels/gpu`` without a GPU: compiled with the system's C++ compiler, one fiber a thread.

For tests, and for readers who want to step through a kernel. May import device and errors only.
"""

from tinyvit.kernels.cuda_on_cpu.compiler import NoCompiler
from tinyvit.kernels.cuda_on_cpu.module import CudaError, Module, turns_in_order
from tinyvit.kernels.cuda_on_cpu.source import Parameter, Source
from tinyvit.kernels.cuda_on_cpu.trace import Event, tracing

__all__ = ["CudaError", "Event", "Module", "NoCompiler", "Parameter", "Source", "tracing", "turns_in_order"]
