"""The differentiable wrappers of the hand-written kernels: each Function calls one forward/backward pair."""

from tinyvit import kernels
from tinyvit.autograd.function import Function
from tinyvit.autograd.tensor import Tensor, as_tensor
from tinyvit.device import array_module


class Linear(Function):
    def forward(self, x, weight, bias):
        self.x, self.weight = x, weight
        return kernels.linear_forward(x, weight, bias)

    def backward(self, dout):
        return kernels.linear_backward(dout, self.x, self.weight, needs_dx=self.needs[0])


class LayerNorm(Function):
    def __init__(self, eps: float):
        self.eps = eps

    def forward(self, x, gamma, beta):
        out, self.normalised, self.inverse_std = kernels.layer_norm_forward(x, gamma, beta, self.eps)
        self.gamma = gamma
        return out

    def backward(self, dout):
        return kernels.layer_norm_backward(dout, self.normalised, self.inverse_std, self.gamma)


class AddLayerNorm(Function):
    """Two results: the sum, and its layer norm."""

    def __init__(self, eps: float):
        self.eps = eps

    def forward(self, x, branch, gamma, beta):
        z, y, self.normalised, self.inverse_std = kernels.add_layer_norm_forward(x, branch, gamma, beta, self.eps)
        self.gamma = gamma
        return z, y

    def backward(self, dz, dy):
        if dy is None:  # the norm had no use
            zeros = array_module(dz).zeros_like(self.gamma)
            return dz, dz, zeros, zeros
        saved = self.normalised, self.inverse_std, self.gamma
        if dz is None:  # nor had the sum itself
            dx, dgamma, dbeta = kernels.layer_norm_backward(dy, *saved)
        else:
            dx, dgamma, dbeta = kernels.add_layer_norm_backward(dz, dy, *saved)
        return dx, dx, dgamma, dbeta


class Softmax(Function):
    def forward(self, x):
        self.y = kernels.softmax_forward(x)
        return self.y

    def backward(self, dout):
        return (kernels.softmax_backward(dout, self.y),)


class Attention(Function):
    def __init__(self, heads: int, asking: int):
        self.heads, self.asking = heads, asking

    def forward(self, qkv):
        out, weights = kernels.attention_forward(qkv, self.heads, self.asking)
        if any(self.needs):
            self.qkv, self.weights, self.out = qkv, weights, out
        return out

    def backward(self, dout):
        return (kernels.attention_backward(dout, self.qkv, self.weights, self.out, self.heads),)


class Gelu(Function):
    def __init__(self, form: str):
        self.form = form

    def forward(self, x):
        out, self.derivative = kernels.gelu_forward(x, self.form, any(self.needs))
        return out

    def backward(self, dout):
        return (kernels.gelu_backward(dout, self.derivative),)


class MLP(Function):
    def __init__(self, form: str):
        self.form = form

    def forward(self, x, weight1, bias1, weight2, bias2):
        out, self.hidden, self.derivative = kernels.mlp_forward(
            x, weight1, bias1, weight2, bias2, self.form, any(self.needs)
        )
        self.x, self.weight1, self.weight2 = x, weight1, weight2
        return out

    def backward(self, dout):
        return kernels.mlp_backward(dout, self.x, self.hidden, self.derivative, self.weight1, self.weight2)


class Dropout(Function):
    def __init__(self, rate: float, seed: int):
        self.rate, self.seed = rate, seed

    def forward(self, x):
        return kernels.dropout_forward(x, self.rate, self.seed)

    def backward(self, dout):
        return (kernels.dropout_backward(dout, self.rate, self.seed),)


class SoftmaxCrossEntropy(Function):
    def __init__(self, targets):
        self.targets = targets

    def forward(self, logits):
        self.targets = _like_logits(self.targets, logits)
        loss, self.probabilities = kernels.softmax_cross_entropy_forward(logits, self.targets)
        return loss

    def backward(self, dout):
        return (kernels.softmax_cross_entropy_backward(dout, self.probabilities, self.targets),)


class SigmoidCrossEntropy(Function):
    def __init__(self, targets):
        self.targets = targets

    def forward(self, logits):
        self.targets = _like_logits(self.targets, logits)
        self.logits = logits
        return kernels.sigmoid_cross_entropy_forward(logits, self.targets)

    def backward(self, dout):
        return (kernels.sigmoid_cross_entropy_backward(dout, self.logits, self.targets),)


def _like_logits(targets, logits):
    """``targets`` in the type of ``logits``, after proving that they have its shape, for they would broadcast.

    Beside bfloat16 logits they stay float32: a tenth spread over a thousand classes is too fine for bfloat16.
    """
    if targets.shape != logits.shape:
        raise ValueError(
            f"targets have shape {targets.shape}, logits {logits.shape}: both must be (batch, classes); "
            "make a row of zeros with a one in it of each label"
        )
    return targets.astype("float32" if logits.dtype.name == "bfloat16" else logits.dtype, copy=False)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """y = x W + b for x (..., in), weight (in, out), bias (out,)."""
    return Linear()(x, weight, bias)


def layer_norm(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
    """Layer normalisation over the last axis (Ba et al., 2016): x (..., D), gamma and beta (D,)."""
    return LayerNorm(eps)(x, gamma, beta)


def add_layer_norm(x: Tensor, branch: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """A residual connection and the layer norm after it, in one pass: z = x + branch, both (..., D), and its norm.

    Raises:
        ValueError: x and branch differ in shape.
    """
    if x.shape != branch.shape:
        raise ValueError(f"x has shape {x.shape}, the branch {branch.shape}: they must be equal to be added")
    return AddLayerNorm(eps)(x, branch, gamma, beta)


def softmax(x: Tensor) -> Tensor:
    """exp(x) / sum(exp(x)) over the last axis, safe for large x."""
    return Softmax()(as_tensor(x))


def attention(qkv: Tensor, heads: int, asking: int | None = None) -> Tensor:
    """Multi-head self-attention (paper, equations 6-8): queries, keys, values (B, N, 3 D) -> (B, N, D).

    With ``asking``, only the first so many tokens get an output: (B, asking, D).

    Raises:
        ValueError: the heads do not divide D, or more tokens ask than there are.
    """
    if qkv.ndim != 3 or qkv.shape[2] % (3 * heads):
        raise ValueError(
            f"attention with {heads} heads needs (batch, tokens, a multiple of {3 * heads}), not {qkv.shape}"
        )
    if asking is not None and not 1 <= asking <= qkv.shape[1]:
        raise ValueError(f"{asking} of {qkv.shape[1]} tokens cannot ask")
    return Attention(heads, qkv.shape[1] if asking is None else asking)(qkv)


def gelu(x: Tensor, form: str) -> Tensor:
    """The Gaussian error linear unit, ``form`` "tanh" or "exact" (Hendrycks and Gimpel, 2016)."""
    return Gelu(form)(x)


def mlp(x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor, form: str) -> Tensor:
    """gelu(x W1 + b1) W2 + b2 for x (..., D), weight1 (D, M), weight2 (M, D): an encoder block's MLP, fused."""
    return MLP(form)(x, weight1, bias1, weight2, bias2)


def dropout(x: Tensor, rate: float, seed: int) -> Tensor:
    """Each element zero with probability ``rate``, the others divided by 1 - rate (Srivastava et al., 2014).

    Raises:
        ValueError: the rate is below 0, or not below 1.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"the dropout rate is {rate}: it must be at least 0 and less than 1")
    return Dropout(rate, seed)(x)


def softmax_cross_entropy(logits: Tensor, targets) -> Tensor:
    """The mean over the batch of -sum(t log softmax(logits)): logits and targets (B, K), the latter distributions.

    Raises:
        ValueError: targets of another shape than the logits.
    """
    return SoftmaxCrossEntropy(targets)(logits)


def sigmoid_cross_entropy(logits: Tensor, targets) -> Tensor:
    """The mean over the batch of the sum over classes of binary cross-entropies: logits and targets in [0, 1] (B, K).

    Raises:
        ValueError: targets of another shape than the logits.
    """
    return SigmoidCrossEntropy(targets)(logits)
