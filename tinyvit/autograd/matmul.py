"""The matrix product, batched and broadcasting."""

from tinyvit.autograd.function import Function
from tinyvit.autograd.tensor import Tensor, as_tensor


class Matmul(Function):
    broadcasts = True

    def forward(self, x, y):
        self.x, self.y = x, y
        return x @ y

    def backward(self, dout):
        # dx = dout y^T and dy = x^T dout, for each matrix of the batch.
        return (
            dout @ self.y.swapaxes(-1, -2) if self.needs[0] else None,
            self.x.swapaxes(-1, -2) @ dout if self.needs[1] else None,
        )


def matmul(x: Tensor, y) -> Tensor:
    """x @ y for x (..., M, K) and y (..., K, N); the leading axes broadcast. Vectors are taken as NumPy takes them.

    Raises:
        ValueError: an operand has no axis, or the inner lengths differ.
    """
    y = as_tensor(y, x)
    if x.ndim == 0 or y.ndim == 0 or x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
        raise ValueError(f"matmul needs (..., M, K) and (..., K, N), not {x.shape} and {y.shape}")
    # A vector is a matrix of one row or one column whose extra axis is dropped again.
    left = x if x.ndim > 1 else x.reshape(1, x.shape[0])
    right = y if y.ndim > 1 else y.reshape(y.shape[0], 1)
    out = Matmul()(left, right)
    if x.ndim == 1:
        out = out.reshape(out.shape[:-2] + out.shape[-1:])
    if y.ndim == 1:
        out = out.reshape(out.shape[:-1])
    return out
