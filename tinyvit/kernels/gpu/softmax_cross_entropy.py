"""Softmax cross-entropy, the loss of single-label classification, on the GPU: see softmax_cross_entropy.cu."""

from tinyvit.device import array_module
from tinyvit.kernels.gpu.launch import launch, storage
from tinyvit.kernels.gpu.shapes import expect_shape
from tinyvit.kernels.gpu.total import total
from tinyvit.kernels.gpu.vectors import vector_length, vectors

FILE = "softmax_cross_entropy"
THREADS = 256


def softmax_cross_entropy_forward(logits, targets):
    """The mean over the batch of -sum(t log softmax(logits)).

    Args:
        logits: (B, K).
        targets: (B, K), each row a distribution over the classes; float32, other types are converted.

    Returns:
        the loss (float32, no axes), and for backward B times its gradient, softmax(logits) sum(t) - t, (B, K).

    Raises:
        TypeError: the logits are neither float32 nor bfloat16.
        ValueError: targets have another shape than logits.
    """
    xp, (batch, classes) = array_module(logits), logits.shape
    expect_shape(logits.shape, targets=targets)
    logits, targets = xp.ascontiguousarray(logits), xp.ascontiguousarray(targets.astype(xp.float32, copy=False))
    losses, gradient = xp.empty(batch, xp.float32), xp.empty_like(logits)
    arguments = (logits, targets, losses, gradient, classes)
    constants = {**storage(logits), **vectors(logits, gradient)}
    launch(FILE, "softmax_cross_entropy_forward", (batch,), (THREADS,), arguments, **constants)
    return total(losses, 1 / batch), gradient


def softmax_cross_entropy_backward(dout, gradient, targets):
    """dlogits = dout gradient / B, (B, K), for dout of no axes and the gradient that forward returned.

    Raises:
        ValueError: the gradient has another shape than the targets.
    """
    xp = array_module(gradient)
    expect_shape(targets.shape, gradient=gradient)
    dlogits, flat = xp.empty_like(gradient), gradient.reshape(-1)
    grid = (-(-flat.size // (THREADS * vector_length(flat))),)
    arguments = (xp.asarray(dout, xp.float32), gradient, dlogits, 1 / len(gradient), gradient.size)
    constants = {**storage(gradient), **vectors(flat)}
    launch(FILE, "softmax_cross_entropy_backward", grid, (THREADS,), arguments, **constants)
    return dlogits
