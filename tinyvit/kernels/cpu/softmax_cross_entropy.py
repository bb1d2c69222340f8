"""Softmax cross-entropy: the loss of single-label classification."""

import numpy as np

from tinyvit.kernels.cpu.softmax import softmax_forward


def softmax_cross_entropy_forward(logits: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean over the batch of -sum(t log softmax(logits)).

    Args:
        logits: (B, K).
        targets: (B, K), each row a distribution over the classes.

    Returns:
        the loss (a 0-d array) and the probabilities softmax(logits) (B, K) for backward.
    """
    probabilities = softmax_forward(logits)
    shifted = logits - logits.max(axis=1, keepdims=True)
    # log softmax from the logits: the logarithm of a probability that rounded to 0 would be -inf.
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = -np.sum(targets * log_probabilities) / len(logits)
    return np.asarray(loss, logits.dtype), probabilities


def softmax_cross_entropy_backward(dout: np.ndarray, probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """dlogits = dout (probabilities sum(targets) - targets) / B, (B, K); each row's sum is 1 for distributions."""
    return (probabilities * targets.sum(axis=1, keepdims=True) - targets) * (dout / len(targets))
