"""The comparison with PyTorch on a GPU: agreement first, then the kernels one by one, then whole training steps.

CuPy and PyTorch are each used in processes of their own. PyTorch is only imported in ``torch_device.py``,
``torch_kernels.py`` and where the functions for its processes need it; CuPy is never imported by name.
"""
