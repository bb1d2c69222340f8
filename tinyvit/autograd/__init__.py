"""The engine: Tensor, Function, the backward walk, and every differentiable operation.

May import kernels, device and errors; knows nothing of layers or models.
"""

from tinyvit.autograd.convolution import convolution, max_pool
from tinyvit.autograd.elementwise import erf, exp, log, maximum, relu, sqrt, tanh, where
from tinyvit.autograd.function import Function, gradients, no_grad
from tinyvit.autograd.gradcheck import GradientError, gradcheck
from tinyvit.autograd.group_norm import group_norm
from tinyvit.autograd.layers import (
    add_layer_norm,
    attention,
    dropout,
    gelu,
    layer_norm,
    linear,
    mlp,
    sigmoid_cross_entropy,
    softmax,
    softmax_cross_entropy,
)
from tinyvit.autograd.matmul import matmul
from tinyvit.autograd.reductions import amax, mean, sum
from tinyvit.autograd.shapes import broadcast_to, concatenate, getitem, reshape, transpose
from tinyvit.autograd.tensor import Tensor

__all__ = [
    "Function",
    "GradientError",
    "Tensor",
    "add_layer_norm",
    "amax",
    "attention",
    "broadcast_to",
    "concatenate",
    "convolution",
    "dropout",
    "erf",
    "exp",
    "gelu",
    "getitem",
    "gradcheck",
    "gradients",
    "group_norm",
    "layer_norm",
    "linear",
    "log",
    "matmul",
    "max_pool",
    "maximum",
    "mean",
    "mlp",
    "no_grad",
    "relu",
    "reshape",
    "sigmoid_cross_entropy",
    "softmax",
    "softmax_cross_entropy",
    "sqrt",
    "sum",
    "tanh",
    "transpose",
    "where",
]
