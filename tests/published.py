"""What the tests of published checkpoints share: oracles with random weights, none of them zero, and their files."""

import os
from pathlib import Path

import numpy as np
import pytest
from test_parity import import_timm, relative_error

from tinyvit import no_grad
from tinyvit.models import ViT

# The largest difference allowed in float32, relative to the largest number of the oracle's answer.
TOLERANCE = 1e-5


def randomise(module, seed: int = 0):
    """Give a PyTorch module weights that keep signals at their size and of which each matters; in evaluation mode."""
    import torch

    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=random)
            if "pos" in name or "token" in name:
                parameter.copy_(0.3 * noise)
            elif parameter.ndim == 1:
                parameter.add_(0.1 * noise)
            else:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
    return module.eval()


def timm_model(name: str, **arguments):
    """A model of timm's with random weights."""
    return randomise(import_timm().create_model(name, pretrained=False, **arguments))


def write_torch(module, path: Path) -> Path:
    """The weights of a PyTorch module as a safetensors file."""
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, path)
    return path


def images_for(model: ViT, count: int = 1, seed: int = 1) -> np.ndarray:
    """Random images (count, H, W, C) in [-1, 1]."""
    size = (count, model.config.image_size, model.config.image_size, model.config.channels)
    return np.random.default_rng(seed).uniform(-1, 1, size).astype(np.float32)


def assert_same_answers(model: ViT, oracle_logits, oracle_features, count: int = 1) -> None:
    """The logits, and the tokens after the final norm, are those of two functions of a tensor of images (B, C, H, W);
    None for what the oracle does not have."""
    import torch

    images = images_for(model, count)
    theirs = torch.from_numpy(images).permute(0, 3, 1, 2)
    for ours, oracle in ((model, oracle_logits), (model.features, oracle_features)):
        if oracle is None:
            continue
        with torch.no_grad(), no_grad():
            error = relative_error(ours(images).data, oracle(theirs).numpy())
        assert error < TOLERANCE


def huggingface_model(model: str, **changes):
    """A small model of transformers' with random weights, such as ViTModel: width 96 and 4 heads, which no rule of
    thumb gives."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import_timm()  # so that transformers finds a torchvision that can be imported
    transformers = pytest.importorskip("transformers", reason="compares with transformers (extra `parity`)")
    shape = {"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 48, "patch_size": 8}
    if "Dinov2" not in model:
        shape["intermediate_size"] = 200
    made = getattr(transformers, model)
    return randomise(made(made.config_class(**{**shape, **changes})))
