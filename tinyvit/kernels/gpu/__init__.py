"""The CUDA kernels: each file launches the .cu file that lies beside it, on the GPU for CuPy arrays.

For NumPy arrays the same .cu files run through ``cuda_on_cpu``, for tests and for readers without a GPU.
"""
