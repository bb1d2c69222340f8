"""Batches for a GPU: those of the CPU, made beside the computation, with all streams in order.

The tests run on a stand-in for CuPy (see fake_cupy.py), which finds what is read before it is made and what is freed
before it was read.
"""

import contextlib
import threading

import numpy as np
import pytest
from fake_streams import Stream
from on_device import device_named

from tinyvit.data import Augmentation, Dataset, Loader, augment, device_batches, normalise
from tinyvit.data.rand_augment import OPERATIONS
from tinyvit.device import CPU, Device
from tinyvit.errors import InputError
from tinyvit.models.preprocessing import Preprocessing

EVERYTHING = Augmentation(
    random_resized_crop=(0.3, 1.0), flip=True, shift=2, rand_augment=(2, 8), erasing=0.4, mixup=0.3, cutmix=1.0
)
ONE_AT_A_TIME = {
    "nothing": Augmentation(),
    "crop": Augmentation(random_resized_crop=(0.3, 1.0)),
    "flip": Augmentation(flip=True),
    "shift": Augmentation(shift=2),
    "rand_augment": Augmentation(rand_augment=(3, 8)),
    "erasing": Augmentation(erasing=0.4),
    "mixup": Augmentation(mixup=0.3),
    "cutmix": Augmentation(cutmix=1.0),
}


@pytest.fixture(params=["stand-in", pytest.param("gpu", marks=pytest.mark.gpu)])
def xp(request):
    """CuPy on a GPU, and the stand-in for it."""
    return request.getfixturevalue("fake_gpu") if request.param == "stand-in" else device_named("gpu").xp


def data(count: int = 50, channels: int = 3, size: int = 12) -> Dataset:
    images = np.random.default_rng(3).integers(0, 256, (count, size, size, channels), dtype=np.uint8)
    return Dataset("noisy", images, np.arange(count) % 5, tuple("abcde"))


def assert_alike(found, expected: np.ndarray, most: float) -> None:
    """Equal, but for a few numbers that may be off by ``most``, since a GPU adds in another order."""
    found = found.get()
    assert found.dtype == expected.dtype and found.shape == expected.shape
    difference = np.abs(found.astype(float) - expected)
    assert difference.max() <= most and (difference > 1e-3 * most).mean() < 0.01


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ONE_AT_A_TIME)
def test_each_augmentation_gives_the_images_of_the_cpu(xp, name, channels):
    batch = data(channels=channels)
    options = ONE_AT_A_TIME[name]
    images, targets = augment(batch.images, batch.labels, 5, options, np.random.default_rng(1))
    given = xp.asarray(batch.images), xp.asarray(batch.labels)
    images_there, targets_there = augment(*given, 5, options, np.random.default_rng(1))
    assert_alike(images_there, images, 1)
    assert_alike(targets_there, targets, 1e-6)
    assert images_there.flags.c_contiguous
    np.testing.assert_array_equal(given[0].get(), batch.images, "what was given has changed")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_operation_gives_the_images_of_the_cpu(xp, operation, channels):
    images = data(channels=channels).images.copy()
    images[3] = 90  # flat
    images[4] //= 7  # dark
    strength = np.random.default_rng(2).uniform(-1, 1, len(images)).astype(np.float32)
    assert_alike(operation(xp.asarray(images), strength), operation(images, strength), 1)


@pytest.mark.parametrize("mean, std", [((0.5,), (0.5,)), ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))])
def test_preparing_gives_the_numbers_of_the_cpu(xp, mean, std):
    images = data().images
    assert_alike(normalise(xp.asarray(images), mean, std), normalise(images, mean, std), 1e-6)
    prepare = Preprocessing(mean, std).prepare
    assert_alike(prepare(xp.asarray(images)), prepare(images), 1e-6)


def loader_of(dataset: Dataset, **options) -> Loader:
    return Loader(dataset, 8, seed=7, **{"augmentation": EVERYTHING, "drop_last": False, **options})


def gpu(xp, precision: str = "float32") -> Device:
    return Device(xp, precision, "a GPU")


@pytest.mark.parametrize("start", [0, 3, 7])
def test_the_batches_of_the_cpu_in_their_order(xp, start):
    loader = loader_of(data())
    there = list(device_batches(loader, 2, start, gpu(xp)))
    here = list(loader.batches(2, start))
    assert len(there) == len(here) == 7 - start
    for (images_there, targets_there), (images, targets) in zip(there, here, strict=True):
        assert_alike(images_there, images, 2 / 255)
        assert_alike(targets_there, targets, 1e-6)


def test_images_come_in_the_type_of_the_device_and_labels_as_they_are(xp):
    loader = loader_of(data(), augmentation=Augmentation(flip=True))
    images, labels = next(device_batches(loader, 0, 0, gpu(xp, "bfloat16")))
    expected, expected_labels = next(loader.batches(0))
    assert images.dtype.name == "bfloat16" and labels.dtype == np.int64
    np.testing.assert_array_equal(images.get(), expected.astype(images.dtype))
    np.testing.assert_array_equal(labels.get(), expected_labels)


def test_on_the_cpu_they_are_those_of_the_loader():
    loader = loader_of(data())
    for (images, targets), (expected, expected_targets) in zip(
        device_batches(loader, 1, 2, CPU), loader.batches(1, 2), strict=True
    ):
        assert images.tobytes() == expected.tobytes() and targets.tobytes() == expected_targets.tobytes()


@contextlib.contextmanager
def in_order(cupy):
    """Proves that streams were in order within this block, also while what it leaves behind is freed."""
    yield
    assert not cupy.counts.races


def consume(batches, cupy) -> int:
    """Computes with each batch on the current stream, as a training step does; how often that had to wait."""
    waits = cupy.counts.synchronisations
    kept = [(images * 2).sum() + targets.sum() for images, targets in batches]
    assert kept
    return cupy.counts.synchronisations - waits


@pytest.mark.parametrize("epochs", [1, 3])
def test_streams_are_in_order_and_the_step_waits_for_nothing(fake_gpu, epochs):
    with in_order(fake_gpu):
        for epoch in range(epochs):
            waits = consume(device_batches(loader_of(data()), epoch, 0, gpu(fake_gpu)), fake_gpu)
            assert waits <= 2, "more than for the two buffers, at the end of the epoch"
            evaluation = loader_of(data(40), augmentation=Augmentation(), shuffle=False)
            assert consume(device_batches(evaluation, 0, 0, gpu(fake_gpu)), fake_gpu) <= 2


def test_the_loaders_thread_waits_for_a_buffer_and_nothing_else(fake_gpu):
    consume(device_batches(loader_of(data()), 0, 0, gpu(fake_gpu)), fake_gpu)
    loaders = {name: waits for name, waits in fake_gpu.counts.by_thread.items() if name.startswith("tinyvit-loader")}
    assert sum(loaders.values()) == loader_of(data()).steps


def test_all_passes_use_one_stream(fake_gpu, monkeypatch):
    made = []
    monkeypatch.setattr(fake_gpu.cuda, "Stream", lambda **options: made.append(Stream(**options)) or made[-1])
    for epoch in range(3):
        consume(device_batches(loader_of(data()), epoch, 0, gpu(fake_gpu)), fake_gpu)
    assert len(made) == 1, "memory that was used on a stream is lost with it"


@pytest.mark.parametrize("leave_after", [1, 2, 6])
def test_streams_are_in_order_when_the_caller_leaves_early(fake_gpu, leave_after):
    with in_order(fake_gpu):
        batches = device_batches(loader_of(data()), 0, 0, gpu(fake_gpu))
        for _, (images, _) in zip(range(leave_after), batches, strict=False):
            images.sum()
        batches.close()
        del images
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("tinyvit-loader")]
        consume(device_batches(loader_of(data()), 1, 0, gpu(fake_gpu)), fake_gpu)


def test_an_error_in_the_thread_reaches_the_caller(fake_gpu):
    loader = loader_of(data(), augmentation=Augmentation(shift=12))
    with in_order(fake_gpu), pytest.raises(InputError, match="a shift of 12 pixels empties"):
        next(device_batches(loader, 0, 0, gpu(fake_gpu)))


# That the stand-in finds what it is there to find.


def test_the_stand_in_sees_a_batch_that_is_read_too_early(fake_gpu):
    other = fake_gpu.cuda.Stream(non_blocking=True)
    with other:
        made = fake_gpu.ones(3)
        event = other.record()
    made.sum()
    assert "before" in fake_gpu.counts.races.pop()
    fake_gpu.cuda.get_current_stream().wait_event(event)
    made.sum()
    assert not fake_gpu.counts.races


def test_the_stand_in_sees_memory_that_is_given_back_while_it_is_read(fake_gpu):
    other, here = fake_gpu.cuda.Stream(non_blocking=True), fake_gpu.cuda.get_current_stream()
    for wait in (False, True):
        with other:
            made = fake_gpu.ones(3)
        here.wait_event(other.record())
        view = made[1:]
        view.sum()
        if wait:
            other.wait_event(here.record())
        del made
        assert not fake_gpu.counts.races, "the view still holds it"
        del view
        assert bool(fake_gpu.counts.races) != wait
        fake_gpu.counts.races.clear()


def test_the_stand_in_sees_pinned_memory_that_is_filled_too_early(fake_gpu):
    stream = fake_gpu.cuda.Stream(non_blocking=True)
    buffer = np.ndarray(4, np.float32, buffer=fake_gpu.cuda.alloc_pinned_memory(16))
    with stream:
        target = fake_gpu.empty(4, np.float32)
    target.set(buffer, stream)
    stream.synchronize()
    target.set(buffer, stream)
    assert not fake_gpu.counts.races
    target.set(buffer, stream)
    assert fake_gpu.counts.races.pop() == "pinned memory is filled again before it was copied"


@pytest.mark.parametrize(
    "look", [float, bool, lambda x: x.item(), lambda x: x.get(), lambda x: x[x > 0], lambda x: x.reshape(1).nonzero()]
)
def test_the_stand_in_counts_what_waits(fake_gpu, look):
    look(fake_gpu.ones(()))
    assert fake_gpu.counts.synchronisations == 1
