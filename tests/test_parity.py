"""The same random weights in tinyvit, in a plain PyTorch ViT and in timm's: the same logits, the same gradients."""

import importlib
import importlib.util
import sys

import numpy as np
import pytest
import threadpoolctl

from tinyvit.autograd import gradients, softmax_cross_entropy
from tinyvit.models import ViT, ViTConfig
from tinyvit.training import Recipe
from tinyvit.training.step import TrainStep
from tinyvit.training.workers import Workers

torch = pytest.importorskip("torch", reason="compares with PyTorch (extra `parity`)")
F = torch.nn.functional

pytestmark = pytest.mark.parity

BATCH = 2
# The largest difference allowed in an array, relative to its largest magnitude: of the logits, of the gradients.
TOLERANCES = {np.float32: (1e-5, 1e-4), np.float64: (1e-10, 1e-10)}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Two libraries that each want every core hinder each other more than several threads help them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpoolctl.threadpool_limits(1, "blas"):
        yield
    torch.set_num_threads(before)


def random_model(config: ViTConfig, dtype) -> ViT:
    """A ViT in which nothing is zero or one, so that every parameter matters."""
    model = ViT(config)
    random = np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        values = random.standard_normal(parameter.shape)
        if name.endswith("gamma"):
            values = 1 + 0.3 * values
        elif parameter.ndim == 2:
            values /= parameter.shape[0] ** 0.5
        else:
            values *= 0.3
        parameter.data = values.astype(dtype)
    return model


def batch(config: ViTConfig, dtype) -> tuple[np.ndarray, np.ndarray]:
    """Images in [-1, 1], and targets that are distributions, as label smoothing and MixUp make them."""
    random = np.random.default_rng(1)
    images = random.uniform(-1, 1, (BATCH, config.image_size, config.image_size, config.channels))
    targets = random.random((BATCH, config.classes)) ** 4
    return images.astype(dtype), (targets / targets.sum(axis=1, keepdims=True)).astype(dtype)


def logits_and_gradients(
    model: ViT, images: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    logits = model(images)
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = gradients(softmax_cross_entropy(logits, targets), parameters)
    return logits.data, dict(zip(names, found, strict=True))


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape and found.dtype == expected.dtype
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def assert_parity(model: ViT, dtype, expected_logits, expected_gradients: dict) -> None:
    images, targets = batch(model.config, dtype)
    logits, found = logits_and_gradients(model, images, targets)
    assert logits.dtype == dtype
    error = relative_error(logits, expected_logits)
    errors = {name: relative_error(found[name], expected_gradients[name]) for name in found}
    worst = max(errors, key=errors.get)
    logits_tolerance, gradient_tolerance = TOLERANCES[dtype]
    assert error < logits_tolerance
    assert errors[worst] < gradient_tolerance, worst
    assert set(expected_gradients) == set(found)


def plain_vit(p: dict, images, config: ViTConfig):
    """The ViT in PyTorch's own functions. p: tinyvit's parameter names -> torch tensors; images (B, H, W, C)."""
    approximate = {"tanh": "tanh", "exact": "none"}[config.gelu]
    d, patch = config.width, config.patch_size

    def norm(x, name):
        return F.layer_norm(x, (d,), p[f"{name}.gamma"], p[f"{name}.beta"], config.norm_eps)

    def dense(x, name):
        return F.linear(x, p[f"{name}.weight"].T, p[f"{name}.bias"])

    kernel = p["patch_embedding.projection.weight"].reshape(patch, patch, config.channels, d).permute(3, 2, 0, 1)
    x = F.conv2d(images.permute(0, 3, 1, 2), kernel, p["patch_embedding.projection.bias"], stride=patch)
    x = x.flatten(2).transpose(1, 2)
    if config.pool == "class_token":
        x = torch.cat([p["class_token"].expand(len(x), -1, -1), x], dim=1)
    x = x + p["position.embedding"]
    for i in range(config.depth):
        b = f"blocks.{i}"
        qkv = dense(norm(x, f"{b}.norm1"), f"{b}.attention.qkv")
        q, k, v = (t.unflatten(-1, (config.heads, -1)).transpose(1, 2) for t in qkv.chunk(3, dim=-1))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + dense(attended, f"{b}.attention.out")
        hidden = F.gelu(dense(norm(x, f"{b}.norm2"), f"{b}.mlp.linear1"), approximate=approximate)
        x = x + dense(hidden, f"{b}.mlp.linear2")
    x = norm(x, "norm")
    x = x[:, 0] if config.pool == "class_token" else x.mean(dim=1)
    if config.representation:
        x = torch.tanh(dense(x, "representation"))
    return dense(x, "head")


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(
    "changes",
    [
        {"gelu": "tanh"},
        {"gelu": "exact"},
        {"gelu": "tanh", "pool": "mean", "representation": 80, "channels": 1, "norm_eps": 1e-12},
    ],
    ids=["tanh", "exact", "mean pool, representation"],
)
def test_plain_pytorch(changes, dtype):
    config = ViTConfig(image_size=48, patch_size=8, width=96, depth=6, heads=3, mlp_width=200, classes=37)
    config = ViTConfig(**{**vars(config), **changes})
    model = random_model(config, dtype)
    images, targets = (torch.from_numpy(array) for array in batch(config, dtype))
    p = {name: torch.tensor(parameter.data, requires_grad=True) for name, parameter in model.named_parameters()}
    logits = plain_vit(p, images, config)
    F.cross_entropy(logits, targets).backward()
    expected = {name: tensor.grad.numpy() for name, tensor in p.items()}
    assert_parity(model, dtype, logits.detach().numpy(), expected)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_training_step_of_several_workers(workers):
    """The whole fast path: with SGD, no momentum yet and learning rate 1, a step subtracts the gradient."""
    config = ViTConfig(image_size=48, patch_size=8, width=96, depth=6, heads=3, mlp_width=200, classes=37)
    model = random_model(config, np.float32)
    random = np.random.default_rng(1)
    images = random.uniform(-1, 1, (7, 48, 48, 3)).astype(np.float32)
    labels = random.integers(0, 37, 7)
    p = {name: torch.tensor(parameter.data, requires_grad=True) for name, parameter in model.named_parameters()}
    F.cross_entropy(plain_vit(p, torch.from_numpy(images), config), torch.from_numpy(labels)).backward()
    before = {name: parameter.data.copy() for name, parameter in model.named_parameters()}
    recipe = Recipe(optimizer="sgd", weight_decay=0.0, clip=0.0, workers=workers)
    with Workers(workers) as threads:
        TrainStep(model, recipe, threads)(images, labels, step=0, learning_rate=1.0)
    for name, parameter in model.named_parameters():
        assert relative_error(before[name] - parameter.data, p[name].grad.numpy()) < 1e-4, name


def import_timm():
    """timm; with a torchvision that has no operators compiled (no CPU build), two that it asks for are declared."""
    if importlib.util.find_spec("timm") is None:
        pytest.skip("compares with timm (extra `parity`)")
    try:
        return importlib.import_module("timm")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] in ("torchvision", "timm")]:
        del sys.modules[name]
    from torch import library

    import_timm.operators = library.Library("torchvision", "DEF")  # gone again with the last reference to it
    for name in ("nms", "qnms"):
        import_timm.operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return importlib.import_module("timm")


def to_timm(name: str, value: np.ndarray, config: ViTConfig) -> tuple[str, np.ndarray]:
    """A tinyvit parameter's name and value as timm has them; works for gradients too."""
    if name == "patch_embedding.projection.weight":
        patch = config.patch_size
        return "patch_embed.proj.weight", value.reshape(patch, patch, config.channels, -1).transpose(3, 2, 0, 1)
    for ours, theirs in (
        ("patch_embedding.projection", "patch_embed.proj"),
        ("class_token", "cls_token"),
        ("position.embedding", "pos_embed"),
        ("attention.out", "attn.proj"),
        ("attention", "attn"),
        ("linear1", "fc1"),
        ("linear2", "fc2"),
        ("gamma", "weight"),
        ("beta", "bias"),
    ):
        name = name.replace(ours, theirs)
    return name, value.T if value.ndim == 2 else value


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_timm_vit_tiny(dtype):
    timm = import_timm()
    config = ViTConfig.named("tiny", gelu="exact")
    model = random_model(config, dtype)
    oracle = timm.create_model("vit_tiny_patch16_224", pretrained=False).to(getattr(torch, np.dtype(dtype).name))
    state = dict(to_timm(name, parameter.data, config) for name, parameter in model.named_parameters())
    oracle.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in state.items()})
    images, targets = batch(config, dtype)
    logits = oracle(torch.from_numpy(images).permute(0, 3, 1, 2))
    F.cross_entropy(logits, torch.from_numpy(targets)).backward()
    theirs = {name: parameter.grad.numpy() for name, parameter in oracle.named_parameters()}
    expected = {}
    for name, parameter in model.named_parameters():
        gradient = theirs.pop(to_timm(name, parameter.data, config)[0])
        if gradient.ndim == 4:  # the patch projection's, (D, C, P, P)
            gradient = gradient.transpose(2, 3, 1, 0).reshape(parameter.shape)
        elif gradient.ndim == 2:
            gradient = gradient.T
        expected[name] = gradient
    assert not theirs
    assert_parity(model, dtype, logits.detach().numpy(), expected)
