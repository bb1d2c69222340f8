"""A whole training step of a ViT whose kernels are all CUDA, next to the NumPy path."""

import numpy as np
import pytest
from on_device import close

from tinyvit import kernels
from tinyvit.device import CPU
from tinyvit.device import Device as ComputeDevice
from tinyvit.kernels import cuda_on_cpu
from tinyvit.models import ViT, ViTConfig
from tinyvit.training import Recipe, TrainStep, Workers

# nano with 4 patches and the class token.
CONFIG = ViTConfig.named("nano", image_size=28, patch_size=14, channels=1, classes=10)
BATCH = 3


def model(**changes) -> ViT:
    """nano with a head that is not zero, so that every parameter has a gradient."""
    config = ViTConfig.named("nano", image_size=28, patch_size=14, channels=1, classes=10, **changes)
    made = ViT(config, seed=1)
    made.head.weight.data[...] = np.random.default_rng(2).normal(0, 0.1, made.head.weight.shape)
    return made


def one_step(compute: ComputeDevice, recipe: Recipe, **changes):
    """The state after a step, its gradients by name, and the step's result."""
    random = np.random.default_rng(0)
    images = compute.put(random.uniform(-1, 1, (BATCH, 28, 28, 1)), compute.dtype)
    labels = compute.put(random.integers(0, 10, BATCH))
    with Workers(1) as workers:
        state = TrainStep(model(**changes), recipe, workers, compute)
        result = state(images, labels, 0, 1e-2)
    return state, state.flat.views(state._gradients[0]), result


def numbers(device, *values) -> list[float]:
    return [float(device.back(device.xp.asarray(value))) for value in values]


@pytest.fixture
def every_kernel_in_cuda(device):
    """Sends NumPy arrays to the CUDA kernels; a GPU's arrays go there by themselves."""
    with kernels.using("gpu"):
        yield


@pytest.mark.parametrize(
    "precision, tolerance, loss_tolerance", [("float32", 2e-5, 1e-6), ("bfloat16", 4e-2, 1e-2)], ids=["f32", "bf16"]
)
@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_loss_and_gradients_are_those_of_numpy(
    device, every_kernel_in_cuda, precision, tolerance, loss_tolerance, loss
):
    recipe = Recipe(loss=loss, ema=0.9, clip=0.1)
    with kernels.using("cpu"):
        expected, expected_gradients, expected_result = one_step(CPU, recipe)
    found, gradients, result = one_step(ComputeDevice(device.xp, precision), recipe)
    assert found.flat.working.dtype.name == precision
    assert numbers(device, result.loss) == pytest.approx([expected_result.loss], rel=loss_tolerance)
    assert numbers(device, result.gradient_norm) == pytest.approx([expected_result.gradient_norm], rel=tolerance)
    if precision == "float32":
        assert numbers(device, result.correct) == [expected_result.correct]
    for name, gradient in gradients.items():
        close(device.back(gradient), expected_gradients[name].astype(np.float64), tolerance)
    # The parameters after AdamW moved them: by the learning rate at the most.
    moved = device.back(found.flat.data) - expected.flat.data
    assert np.abs(moved).max() < (1e-3 if precision == "float32" else 2.1e-2)
    np.testing.assert_array_equal(
        device.back(found.flat.working), device.back(found.flat.data.astype(found.flat.working.dtype))
    )


def test_dropout_and_stochastic_depth_drop_the_same(device, every_kernel_in_cuda):
    changes = {"dropout": 0.2, "stochastic_depth": 0.3}
    with kernels.using("cpu"):
        _, expected, _ = one_step(CPU, Recipe(), **changes)
    _, found, _ = one_step(ComputeDevice(device.xp), Recipe(), **changes)
    for name, gradient in found.items():
        close(device.back(gradient), expected[name].astype(np.float64), 2e-5)


def test_accumulated_gradients_add_up(device, every_kernel_in_cuda):
    whole = one_step(ComputeDevice(device.xp), Recipe())[1]
    parts = one_step(ComputeDevice(device.xp), Recipe(accumulate=2))[1]
    for name, gradient in parts.items():
        close(device.back(gradient), device.back(whole[name]), 2e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_loss_that_is_no_number_changes_nothing(device, every_kernel_in_cuda, precision):
    compute = ComputeDevice(device.xp, precision)
    with Workers(1) as workers:
        state = TrainStep(model(), Recipe(ema=0.9), workers, compute)
        images = np.zeros((BATCH, 28, 28, 1), np.float32)
        images[0, 0, 0] = np.nan
        before = [device.back(a).copy() for a in (state.flat.data, state.average, *state.optimizer.state.values())]
        result = state(compute.put(images, compute.dtype), compute.put(np.zeros(BATCH, int)), 0, 1e-2)
    assert np.isnan(numbers(device, result.loss)).all()
    for old, array in zip(before, (state.flat.data, state.average, *state.optimizer.state.values()), strict=True):
        np.testing.assert_array_equal(device.back(array), old)


def test_every_kernel_of_the_step_ran_as_cuda(monkeypatch):
    """Nothing of the step goes to NumPy's kernels behind the test's back."""
    launched = set()
    run = cuda_on_cpu.module.Function.__call__
    monkeypatch.setattr(
        cuda_on_cpu.module.Function,
        "__call__",
        lambda self, *args, **kwargs: (launched.add(self.name), run(self, *args, **kwargs))[1],
    )
    for name in ("layer_norm", "attention", "mlp", "linear", "softmax_cross_entropy", "adamw", "dropout"):
        module = __import__(f"tinyvit.kernels.cpu.{name}", fromlist=[name])
        for kernel in kernels.KERNELS[name]:
            monkeypatch.setattr(module, kernel, lambda *_, kernel=kernel, **__: pytest.fail(f"{kernel} ran in NumPy"))
    with kernels.using("gpu"):
        one_step(ComputeDevice(np), Recipe())
        one_step(ComputeDevice(np), Recipe(), dropout=0.1)  # which stands between the layers of the MLP
    for part in ("layer_norm", "attention", "bias_gelu", "adamw", "dropout", "cross_entropy"):
        assert any(part in name for name in launched), f"no kernel of {part} was launched: {sorted(launched)}"
