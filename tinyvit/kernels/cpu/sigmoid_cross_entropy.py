"""Sigmoid cross-entropy: the authors' loss in pre-training on ImageNet-21k and JFT, as they say beside their code."""

import numpy as np


def sigmoid_cross_entropy_forward(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The mean over the batch of the sum over classes of -t log s(x) - (1 - t) log s(-x), s the logistic function.

    logits and targets (B, K), targets in [0, 1]; gives a 0-d array.
    """
    # -log s(x) = max(-x, 0) + log(1 + exp(-|x|)), so no exp can overflow.
    loss = np.maximum(logits, 0) - logits * targets + np.log1p(np.exp(-np.abs(logits)))
    return np.asarray(loss.sum() / len(logits), logits.dtype)


def sigmoid_cross_entropy_backward(dout: np.ndarray, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """dlogits = dout (s(x) - t) / B, (B, K)."""
    sigmoid = 0.5 * (1 + np.tanh(0.5 * logits))  # the logistic function in a form that cannot overflow
    return (sigmoid - targets) * (dout / len(logits))
