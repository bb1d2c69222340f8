"""The batch loader: the same batches from the same seed, wherever a pass starts; one thread, which ends."""

import threading
import traceback

import numpy as np
import pytest

from tinyvit.data import Augmentation, Dataset, Loader, normalise
from tinyvit.errors import InputError


def numbered(count: int = 50, classes: int = 5) -> Dataset:
    """Images of one grey value each, their own number, so that a batch tells which images are in it."""
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 8, 8, 1)).copy()
    return Dataset("numbered", images, np.arange(count) % classes, tuple("abcdefgh"[:classes]))


def noisy(count: int = 50) -> Dataset:
    images = np.random.default_rng(3).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return Dataset("noisy", images, np.arange(count) % 5, tuple("abcde"))


def numbers(images: np.ndarray) -> np.ndarray:
    return np.rint((images[:, 0, 0, 0] + 1) * 127.5).astype(int)


def loader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("tinyvit-loader")]


def test_normalise_maps_0_to_255_onto_minus_1_to_1():
    pixels = np.array([0, 127.5, 255], np.float32).reshape(1, 1, 3, 1)
    np.testing.assert_array_equal(normalise(pixels).ravel(), [-1, 0, 1])
    turned = np.asfortranarray(np.arange(24, dtype=np.uint8).reshape(1, 4, 6, 1))
    scaled = normalise(turned)
    assert scaled.dtype == np.float32 and scaled.flags.c_contiguous
    np.testing.assert_allclose(scaled, turned / 127.5 - 1, atol=1e-7)


def test_an_epoch_shows_every_image_once_with_its_label():
    loader = Loader(numbered(), 10, seed=1)
    batches = list(loader.batches(epoch=0))
    assert len(batches) == loader.steps == 5
    seen = np.concatenate([numbers(images) for images, _ in batches])
    labels = np.concatenate([targets for _, targets in batches])
    assert sorted(seen) == list(range(50))
    np.testing.assert_array_equal(labels, seen % 5)
    assert labels.dtype == np.int64 and batches[0][0].shape == (10, 8, 8, 1)


def test_the_order_follows_from_seed_and_epoch():
    def order(seed, epoch):
        return np.concatenate([numbers(images) for images, _ in Loader(numbered(), 10, seed=seed).batches(epoch)])

    np.testing.assert_array_equal(order(1, 0), order(1, 0))
    assert not np.array_equal(order(1, 0), order(1, 1))
    assert not np.array_equal(order(1, 0), order(2, 0))


def test_the_order_is_drawn_from_another_stream_than_the_first_batch():
    # default_rng([seed, epoch]) and default_rng([seed, epoch, 0]) are one stream: they must not both be used.
    drawn = np.random.default_rng([1, 2, 0]).permutation(50)
    assert not np.array_equal(Loader(numbered(), 10, seed=1)._order(2), drawn)


@pytest.mark.parametrize("start", [0, 1, 4, 12, 13])
def test_a_pass_that_starts_late_gives_the_same_batches(start):
    loader = Loader(noisy(), 4, seed=7, augmentation=Augmentation(flip=True, shift=2), drop_last=False)
    whole = list(loader.batches(epoch=3))
    late = list(loader.batches(epoch=3, start=start))
    assert len(late) == len(whole) - start
    for (images, targets), (images_late, targets_late) in zip(whole[start:], late, strict=True):
        assert images.tobytes() == images_late.tobytes() and targets.tobytes() == targets_late.tobytes()


def test_batches_of_one_epoch_draw_different_augmentations():
    same = Dataset("same", np.tile(noisy().images[:1], (8, 1, 1, 1)), np.zeros(8, np.int64), ("a",))
    first, second = Loader(same, 4, seed=0, augmentation=Augmentation(shift=3)).batches(epoch=0)
    assert not np.array_equal(first[0], second[0])


def test_evaluation_keeps_the_order_and_the_last_short_batch():
    loader = Loader(numbered(), 16, seed=0, shuffle=False, drop_last=False)
    batches = list(loader.batches(epoch=0))
    assert loader.steps == 4 and [len(images) for images, _ in batches] == [16, 16, 16, 2]
    np.testing.assert_array_equal(np.concatenate([numbers(images) for images, _ in batches]), np.arange(50))


def test_one_thread_works_ahead_and_ends_with_the_pass():
    running = Loader(numbered(), 5, seed=0).batches(epoch=0)
    assert not loader_threads()
    next(running)
    assert len(loader_threads()) == 1
    assert len(list(running)) == 9
    assert not loader_threads()


def test_the_thread_ends_when_the_consumer_leaves_early():
    for images, _ in Loader(numbered(), 5, seed=0).batches(epoch=0):
        assert images.shape == (5, 8, 8, 1)
        break
    assert not loader_threads()
    with pytest.raises(KeyboardInterrupt):
        for _ in Loader(numbered(), 5, seed=0).batches(epoch=0):
            raise KeyboardInterrupt
    assert not loader_threads()


def test_an_error_in_the_thread_reaches_the_consumer_with_its_traceback():
    loader = Loader(numbered(), 5, seed=0, augmentation=Augmentation(shift=8))
    with pytest.raises(InputError, match="shift of 8 pixels empties images of 8x8") as caught:
        list(loader.batches(epoch=0))
    assert any(frame.name == "shift" for frame in traceback.extract_tb(caught.value.__traceback__))
    assert not loader_threads()


@pytest.mark.parametrize(
    ("batch_size", "seed", "message"),
    [
        (0, 0, "batch size is 0: give at least 1"),
        (5, -1, "seed is -1"),
        (51, 0, "batch size 51 is more than the 50 images of 'numbered': lower it to 50 or less"),
    ],
)
def test_what_cannot_be_batched_is_refused(batch_size, seed, message):
    with pytest.raises(InputError, match=message):
        Loader(numbered(), batch_size, seed=seed)
