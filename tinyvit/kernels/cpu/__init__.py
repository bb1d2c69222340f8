"""The kernels in NumPy, one file a kernel. May import device and errors only."""
