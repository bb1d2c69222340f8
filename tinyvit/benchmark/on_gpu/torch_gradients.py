"""PyTorch's loss and gradients of a model with random weights, under tinyvit's names."""

import numpy as np
import torch
import torch.nn.functional as F

from tinyvit.benchmark.on_gpu.torch_device import autocast
from tinyvit.benchmark.rows import Row, randomise
from tinyvit.benchmark.torch_model import TorchViT, torch_name
from tinyvit.models import ViT


def torch_gradients(row: Row, device: torch.device, precision: str, images: int) -> tuple[float, dict[str, np.ndarray]]:
    """In float64, or as PyTorch is timed in the other precisions. Gradients are in PyTorch's layout."""
    model = ViT(row.config)
    randomise(model)
    network = TorchViT(row.config)
    network.load(model)
    dtype = torch.float64 if precision == "float64" else torch.float32
    network = network.to(device, dtype)
    batch, labels = (torch.from_numpy(array[:images]).to(device) for array in row.batch())
    with autocast(device, precision):
        loss = F.cross_entropy(network(batch.permute(0, 3, 1, 2).to(dtype)), labels)
    loss.backward()
    theirs = {name: parameter.grad.double().cpu().numpy() for name, parameter in network.named_parameters()}
    found = {name: theirs.pop(torch_name(name)) for name, _ in model.named_parameters()}
    if theirs:
        raise RuntimeError(f"the PyTorch model has parameters that tinyvit lacks: {', '.join(theirs)}")
    return loss.item(), found
