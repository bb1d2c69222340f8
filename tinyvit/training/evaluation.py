"""How good a model is on a data set."""

import dataclasses

import numpy as np

from tinyvit.autograd import Tensor, no_grad, softmax_cross_entropy
from tinyvit.data import Dataset, Loader, device_batches
from tinyvit.device import CPU, Device, to_numpy
from tinyvit.models import ViT
from tinyvit.training.step import smoothed
from tinyvit.training.workers import Workers, split


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a model says of a data set.

    Attributes:
        predicted: (count,), the class with the largest logit for each image.
        labels: (count,), the true class.
        loss: the mean softmax cross-entropy.
        confusion: (K, K), how many images of class i (row) were called class j (column).
    """

    predicted: np.ndarray
    labels: np.ndarray
    loss: float
    classes: int

    @property
    def accuracy(self) -> float:
        """The share of images that were classified correctly, 0 to 1."""
        return float(np.mean(self.predicted == self.labels))

    @property
    def confusion(self) -> np.ndarray:
        counts = np.zeros((self.classes, self.classes), int)
        np.add.at(counts, (self.labels, self.predicted), 1)
        return counts


def evaluate(model: ViT, dataset: Dataset, workers: Workers, device: Device = CPU, batch_size: int = 256) -> Evaluation:
    """Classify every image of ``dataset``, in batches that are split over the workers. Computes in float32."""
    device = dataclasses.replace(device, precision="float32")
    logits = device.xp.empty((len(dataset), model.config.classes), np.float32)

    def classify(images, first: int, part: slice) -> None:
        with no_grad():
            logits[first + part.start : first + part.stop] = model(images[part]).data

    first = 0
    prepare = model.config.preprocessing.prepare
    loader = Loader(dataset, batch_size, seed=0, shuffle=False, drop_last=False, prepare=prepare)
    for images, _ in device_batches(loader, 0, 0, device):
        parts = split(len(images), workers.count)
        workers.map(lambda part, images=images, first=first: classify(images, first, part), parts)
        first += len(images)
    logits = to_numpy(logits)
    targets = smoothed(dataset.labels, model.config.classes, 0.0)
    loss = softmax_cross_entropy(Tensor(logits), targets).item()
    return Evaluation(logits.argmax(axis=1), dataset.labels, loss, model.config.classes)
