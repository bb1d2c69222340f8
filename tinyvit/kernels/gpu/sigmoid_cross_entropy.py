"""Sigmoid cross-entropy, the authors' loss in pre-training, on the GPU.

The kernels are in sigmoid_cross_entropy.cu.
"""

from tinyvit.device import array_module
from tinyvit.kernels.gpu.launch import launch, storage
from tinyvit.kernels.gpu.shapes import expect_shape
from tinyvit.kernels.gpu.total import total

FILE = "sigmoid_cross_entropy"
THREADS = 256
MOST_BLOCKS = 8 * 132  # as many as the 132 multiprocessors of an H100 hold


def sigmoid_cross_entropy_forward(logits, targets):
    """The mean over the batch of the sum over classes of -t log s(x) - (1 - t) log s(-x), s the logistic function.

    logits and targets (B, K), targets in [0, 1], float32 (other types are converted); gives a float32 array of no axes.

    Raises:
        TypeError: the logits are neither float32 nor bfloat16.
        ValueError: targets have another shape than logits.
    """
    xp = array_module(logits)
    logits, targets = _checked(logits, targets)
    blocks = min(-(-logits.size // THREADS), MOST_BLOCKS)
    losses = xp.empty(blocks, xp.float32)
    arguments = (logits, targets, losses, logits.size)
    launch(FILE, "sigmoid_cross_entropy_forward", (blocks,), (THREADS,), arguments, **storage(logits))
    return total(losses, 1 / len(logits))


def sigmoid_cross_entropy_backward(dout, logits, targets):
    """dlogits = dout (s(x) - t) / B, (B, K), for dout of no axes.

    Raises:
        TypeError, ValueError: as of forward.
    """
    xp = array_module(logits)
    logits, targets = _checked(logits, targets)
    dlogits = xp.empty_like(logits)
    grid = (-(-logits.size // THREADS),)
    arguments = (xp.asarray(dout, xp.float32), logits, targets, dlogits, 1 / len(logits), logits.size)
    launch(FILE, "sigmoid_cross_entropy_backward", grid, (THREADS,), arguments, **storage(logits))
    return dlogits


def _checked(logits, targets):
    """Both as the kernels read them."""
    xp = array_module(logits)
    expect_shape(logits.shape, targets=targets)
    return xp.ascontiguousarray(logits), xp.ascontiguousarray(targets.astype(xp.float32, copy=False))
