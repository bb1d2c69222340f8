"""tinyvit: a Vision Transformer built from scratch in NumPy and CuPy, to teach and to use."""

from tinyvit.autograd import Tensor, gradcheck, no_grad
from tinyvit.models.published import load_pretrained

__all__ = ["Tensor", "gradcheck", "load_pretrained", "no_grad"]
__version__ = "0.1.0"
