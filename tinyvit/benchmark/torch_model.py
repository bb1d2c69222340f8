"""An equal ViT in PyTorch, as one writes it there: the same parameters, nn's layers, the fused attention.

It is the plain model: every token passes through the last block. Logits and gradients are those of tinyvit, as
:func:`differences` shows.
"""

import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tinyvit.autograd import gradients, softmax_cross_entropy
from tinyvit.benchmark.rows import Row, randomise
from tinyvit.models import ViT, ViTConfig
from tinyvit.training.step import smoothed
from tinyvit.training.workers import Workers


class Block(nn.Module):
    """An encoder block (equations 2 and 3): x (B, N, D) -> (B, N, D)."""

    def __init__(self, config: ViTConfig):
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.approximate = {"tanh": "tanh", "exact": "none"}[config.gelu]
        self.norm1 = nn.LayerNorm(width, config.norm_eps)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, config.norm_eps)
        self.linear1 = nn.Linear(width, config.mlp_width)
        self.linear2 = nn.Linear(config.mlp_width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(query, key, value)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x)), approximate=self.approximate))


class TorchViT(nn.Module):
    """images (B, C, H, W) -> logits (B, K). Learned position embedding; no dropout, no representation layer."""

    def __init__(self, config: ViTConfig):
        super().__init__()
        width = config.width
        self.patches = nn.Conv2d(config.channels, width, config.patch_size, config.patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width)) if config.pool == "class_token" else None
        self.position = nn.Parameter(torch.zeros(1, config.tokens, width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width, config.norm_eps)
        self.head = nn.Linear(width, config.classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1)
        x = x + self.position
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head(x[:, 0] if self.class_token is not None else x.mean(dim=1))

    def load(self, model: ViT) -> None:
        """Take over tinyvit's parameters."""
        state = {
            torch_name(name): torch.from_numpy(to_torch(name, parameter.data, model.config))
            for name, parameter in model.named_parameters()
        }
        own = self.state_dict()
        self.load_state_dict({name: value.reshape(own[name].shape) for name, value in state.items()})


def optimizer(
    model: TorchViT, learning_rate: float, weight_decay: float, fused: bool | None = None
) -> torch.optim.AdamW:
    """AdamW that decays matrices (and the patch kernels, which are one) only, as tinyvit's does."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 or name == "patches.weight"]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 and name != "patches.weight"]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=fused)


def torch_name(name: str) -> str:
    """What tinyvit's parameter ``name`` is called here."""
    for ours, theirs in (
        ("patch_embedding.projection", "patches"),
        ("position.embedding", "position"),
        ("attention.", ""),
        ("mlp.", ""),
        ("gamma", "weight"),
        ("beta", "bias"),
    ):
        name = name.replace(ours, theirs)
    return name


def to_torch(name: str, value: np.ndarray, config: ViTConfig) -> np.ndarray:
    """A parameter (or its gradient) of tinyvit as PyTorch keeps it: (out, in), and (D, C, P, P) for patches."""
    if name == "patch_embedding.projection.weight":
        patch = config.patch_size
        value = value.reshape(patch, patch, config.channels, config.width).transpose(3, 2, 0, 1)
    elif value.ndim == 2:
        value = value.T
    return np.ascontiguousarray(value)


def differences(row: Row, images: int = 2) -> tuple[float, float]:
    """The largest differences between tinyvit and PyTorch with the same random weights, of the logits and of the
    gradients of all parameters, each relative to the largest magnitude of the array."""
    torch.set_num_threads(1)
    model, network = ViT(row.config), TorchViT(row.config)
    randomise(model)
    network.load(model)
    batch, labels = (array[:images] for array in row.batch())

    with Workers(1):
        logits = model(batch)
        loss = softmax_cross_entropy(logits, smoothed(labels, row.config.classes, 0.0))
        names, parameters = zip(*model.named_parameters(), strict=True)
        ours = dict(zip(names, gradients(loss, parameters), strict=True))

    torch_logits = network(torch.from_numpy(batch).permute(0, 3, 1, 2))
    F.cross_entropy(torch_logits, torch.from_numpy(labels)).backward()
    theirs = {name: parameter.grad.numpy() for name, parameter in network.named_parameters()}
    worst = 0.0
    for name, gradient in ours.items():
        expected = theirs.pop(torch_name(name))
        worst = max(worst, _difference(to_torch(name, gradient, row.config).reshape(expected.shape), expected))
    if theirs:
        raise RuntimeError(f"the PyTorch model has parameters that tinyvit lacks: {', '.join(theirs)}")
    return _difference(logits.data, torch_logits.detach().numpy()), worst


def product_rate(threads: int, side: int) -> float:
    """GFLOP/s of a large float32 matrix product in PyTorch."""
    torch.set_num_threads(threads)
    a, b = torch.rand(side, side), torch.rand(side, side)
    out = a @ b
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds) / 1e9


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), np.finfo(np.float32).tiny))
