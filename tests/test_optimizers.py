"""AdamW and SGD over flat parameters against torch.optim, clipping included."""

import numpy as np
import pytest
from small_models import batch, model

from tinyvit.autograd import gradients, softmax_cross_entropy
from tinyvit.training import SGD, AdamW, Recipe
from tinyvit.training.flat import FlatParameters
from tinyvit.training.step import TrainStep, smoothed
from tinyvit.training.workers import Workers

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch", reason="needs PyTorch (extra `parity`)")

STEPS = 20
DECAY = 0.1


class Twin:
    """The same parameters in PyTorch, of which only the matrices decay."""

    def __init__(self, flat: FlatParameters, optimizer: str):
        self.values = {name: torch.tensor(view) for name, view in flat.views(flat.data).items()}
        matrices = [value for value in self.values.values() if value.ndim == 2]
        others = [value for value in self.values.values() if value.ndim != 2]
        groups = [{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = {
            "adamw": lambda: torch.optim.AdamW(groups, lr=0.0),
            "sgd": lambda: torch.optim.SGD(groups, lr=0.0, momentum=0.9),
        }[optimizer]()

    def step(self, found: dict[str, np.ndarray], learning_rate: float, clip: float = 0.0) -> None:
        for name, value in self.values.items():
            value.grad = torch.tensor(found[name])
        if clip:
            torch.nn.utils.clip_grad_norm_(self.values.values(), clip)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()

    def assert_same(self, flat: FlatParameters) -> None:
        for name, view in flat.views(flat.data).items():
            np.testing.assert_allclose(view, self.values[name].numpy(), rtol=2e-5, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_gradients_of_all_sizes_for_20_steps(name):
    flat = FlatParameters(model())
    twin = Twin(flat, name)
    optimizer = {"adamw": AdamW, "sgd": SGD}[name](flat, weight_decay=DECAY)
    random = np.random.default_rng(1)
    for step in range(STEPS):
        # Some of the numbers are as small as AdamW's eps, some are large.
        size = 10.0 ** random.uniform(-8, 1, flat.data.size)
        gradient = (size * random.standard_normal(flat.data.size)).astype(np.float32)
        rate = 0.01 * (STEPS - step) / STEPS
        for part, decays in flat.parts(3):
            optimizer.update(part, decays, gradient, 1.0, rate, step + 1)
        twin.step(flat.views(gradient), rate)
    twin.assert_same(flat)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("clip", [0.0, 0.5, 1e9], ids=["no limit", "clipped", "limit far away"])
def test_20_train_steps_with_clipping(name, clip):
    recipe = Recipe(optimizer=name, weight_decay=DECAY, clip=clip)
    with Workers(1) as workers:
        state = TrainStep(model(), recipe, workers)
        twin = Twin(state.flat, name)
        for step in range(STEPS):
            images, labels = batch(seed=step)
            loss = softmax_cross_entropy(state.model(images), smoothed(labels, 5, 0.0))
            found = dict(zip(state.flat.views(state.flat.data), gradients(loss, state.flat.parameters), strict=True))
            rate = 0.02 * (step + 1) / STEPS
            result = state(images, labels, step, rate)
            norm = np.sqrt(sum(np.sum(each.astype(float) ** 2) for each in found.values()))
            assert result.gradient_norm == pytest.approx(norm, rel=1e-5)
            assert clip != 0.5 or norm > clip, "this batch does not test clipping"
            twin.step(found, rate, clip)
    twin.assert_same(state.flat)
