"""Measuring speed and memory: the machine, our step kernel by kernel, and an equal PyTorch model taking turns with us.

May import training, analysis and all below them. PyTorch is only imported in ``torch_model.py``, and that file only
where PyTorch is installed and wanted.
"""
