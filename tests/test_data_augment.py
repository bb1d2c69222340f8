"""Augmentations: each does what its name says, by a draw for each image, and leaves its input alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from tinyvit.data import Augmentation, augment, colours, warps
from tinyvit.data.erasing import erase
from tinyvit.data.geometry import flip, random_resized_crop, shift
from tinyvit.data.mix import cutmix, mixup, one_hot
from tinyvit.data.rand_augment import OPERATIONS, rand_augment
from tinyvit.data.sampling import bilinear
from tinyvit.errors import InputError


def random_images(count=16, height=9, width=11, channels=3, seed=0) -> np.ndarray:
    # No pixel is 0, so that black can only come from outside the image.
    return np.random.default_rng(seed).integers(1, 256, (count, height, width, channels), dtype=np.uint8)


def full(strength: float, count: int) -> np.ndarray:
    return np.full(count, strength, np.float32)


def test_flip_mirrors_about_half_the_images_left_to_right():
    images = random_images(200)
    flipped = flip(images, np.random.default_rng(1))
    same = (flipped == images).all(axis=(1, 2, 3))
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all() and 70 < mirrored.sum() < 130


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(0, 1000))
def test_shift_moves_each_image_by_the_drawn_amount(most, seed):
    images = random_images(12, 9, 7, 2)
    moved = shift(images, most, np.random.default_rng(seed))
    assert moved.shape == images.shape and moved.flags.c_contiguous
    down, right = np.random.default_rng(seed).integers(-most, most, size=(2, 12), endpoint=True)
    for image, result, dy, dx in zip(images, moved, down, right, strict=True):
        for y in range(9):
            for x in range(7):
                inside = 0 <= y - dy < 9 and 0 <= x - dx < 7
                np.testing.assert_array_equal(result[y, x], image[y - dy, x - dx] if inside else 0)


def test_shift_reaches_both_ends_and_refuses_to_empty_the_image():
    point = np.zeros((300, 9, 9, 1), np.uint8)
    point[:, 4, 4] = 1
    places = np.argwhere(shift(point, 2, np.random.default_rng(0))[..., 0])
    assert set(map(tuple, places[:, 1:])) == {(y, x) for y in range(2, 7) for x in range(2, 7)}
    with pytest.raises(InputError, match="shift of 9 pixels"):
        shift(point, 9, np.random.default_rng(0))


def test_bilinear_hits_pixels_mixes_between_them_and_is_black_outside():
    images = random_images(2, 4, 5)
    rows, columns = np.mgrid[0:4, 0:5]
    np.testing.assert_array_equal(bilinear(images, rows[None], columns[None]), images)
    between = bilinear(images, np.full((2, 1, 1), 1.5), np.full((2, 1, 1), 2.25))[:, 0, 0]
    corners = images[:, 1:3, 2:4].astype(float)
    expected = corners.mean(axis=1)[:, 0] * 0.75 + corners.mean(axis=1)[:, 1] * 0.25
    np.testing.assert_allclose(between, expected, atol=0.5001)
    half_out = bilinear(images, np.full((2, 1, 1), -0.5), np.full((2, 1, 1), 3.0))[:, 0, 0]
    np.testing.assert_allclose(half_out, images[:, 0, 3] / 2, atol=0.5001)
    for row, column in [(-7, 2), (2, -1), (4, 2), (2, 100)]:
        assert not bilinear(images, np.full((2, 1, 1), row), np.full((2, 1, 1), column)).any()


def test_random_resized_crop_shows_a_box_of_the_asked_share():
    # A ramp along each axis: the step between neighbours in the result is the zoom, the ends are the box's.
    ramp = np.zeros((200, 64, 64, 2), np.uint8)
    ramp[..., 0] = 3 * np.arange(64)[:, None]
    ramp[..., 1] = 3 * np.arange(64)
    crops = random_resized_crop(ramp, (0.25, 0.5), np.random.default_rng(0)) / 3.0
    heights = (crops[:, 60, 0, 0] - crops[:, 3, 0, 0]) / 57
    widths = (crops[:, 0, 60, 1] - crops[:, 0, 3, 1]) / 57
    area, ratio = heights * widths, widths / heights
    assert 0.23 < area.min() < 0.27 and 0.47 < area.max() < 0.52
    assert 0.72 < ratio.min() < 0.8 and 1.25 < ratio.max() < 1.37
    assert crops[:, 0, 0, 0].min() < 3 and crops[:, -1, 0, 0].max() > 60  # boxes lie anywhere, up to the border
    assert (np.diff(crops[..., 0], axis=1) >= 0).all()


def test_a_crop_of_everything_keeps_square_boxes_close_to_the_image():
    images = random_images(4, 16, 16)
    crops = random_resized_crop(images, (1.0, 1.0), np.random.default_rng(0))
    assert crops.shape == images.shape and crops.min() >= 1  # never black from outside


def test_rotation_and_shear_move_pixels_where_geometry_says():
    image = np.zeros((1, 41, 41, 1), np.uint8)
    image[0, 8:13, 18:23] = 255  # a blob 10 pixels above the centre

    def centre(images):
        weights = images[0, ..., 0].astype(float)
        y, x = np.mgrid[0:41, 0:41] - 20
        return (weights * y).sum() / weights.sum(), (weights * x).sum() / weights.sum()

    y, x = centre(warps.rotate(image, full(1.0, 1)))
    angle = np.deg2rad(30)
    np.testing.assert_allclose([y, abs(x)], [-10 * np.cos(angle), 10 * np.sin(angle)], atol=0.2)
    np.testing.assert_allclose(np.abs(centre(warps.shear_x(image, full(1.0, 1)))), [10, 3], atol=0.2)
    np.testing.assert_allclose(np.abs(centre(warps.shear_y(image, full(1.0, 1)))), [10, 0], atol=0.2)
    np.testing.assert_allclose(centre(warps.translate_x(image, full(0.4, 1))), [-10, 0.45 * 0.4 * 41], atol=0.1)
    np.testing.assert_allclose(centre(warps.translate_y(image, full(-0.4, 1))), [-10 - 0.18 * 41, 0], atol=0.1)
    # The other sign is the other way round.
    left, right = (centre(warps.rotate(image, full(sign, 1)))[1] for sign in (-1.0, 1.0))
    assert abs(left + right) < 0.1 and abs(left - right) > 9


@pytest.mark.parametrize("warp", [warps.rotate, warps.shear_x, warps.shear_y, warps.translate_x])
def test_a_warp_of_no_strength_changes_nothing(warp):
    images = random_images()
    np.testing.assert_array_equal(warp(images, full(0, 16)), images)


def like_pillow(strength):
    factor = 1 + 0.9 * strength
    return {
        colours.auto_contrast: ImageOps.autocontrast,
        colours.equalize: ImageOps.equalize,
        colours.solarize: lambda image: ImageOps.solarize(image, 256 * (1 - abs(strength))),
        colours.posterize: lambda image: ImageOps.posterize(image, 8 - round(4 * abs(strength))),
        colours.colour: lambda image: ImageEnhance.Color(image).enhance(factor),
        colours.contrast: lambda image: ImageEnhance.Contrast(image).enhance(factor),
        colours.brightness: lambda image: ImageEnhance.Brightness(image).enhance(factor),
        colours.sharpness: lambda image: Image.blend(image.filter(ImageFilter.SMOOTH), image, factor),
    }


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("strength", [-1.0, -0.3, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("operation", like_pillow(0.0), ids=lambda operation: operation.__name__)
def test_colour_operations_agree_with_pillow(operation, strength, channels):
    rng = np.random.default_rng(5)
    # Different ranges for different images, one flat image, and smooth parts so that histograms have gaps.
    images = random_images(6, 12, 14, channels) // np.array([1, 2, 3, 5, 1, 1], np.uint8)[:, None, None, None] + 7
    images[4] = 90
    images[5] = np.sort(rng.integers(0, 60, images[5].size, dtype=np.uint8)).reshape(images[5].shape)
    got = operation(images, full(strength, 6))
    for image, result in zip(images, got, strict=True):
        pillow = like_pillow(strength)[operation](Image.fromarray(image.squeeze()))
        expected = np.asarray(pillow).reshape(image.shape)
        np.testing.assert_allclose(result.astype(int), expected, atol=2 if operation is colours.colour else 1)
        if operation in (colours.equalize, colours.solarize, colours.posterize):
            np.testing.assert_array_equal(result, expected)


def test_rand_augment_lists_the_papers_fourteen_operations():
    assert len(set(OPERATIONS)) == 14


def test_rand_augment_treats_each_image_by_its_own_draw_and_keeps_the_input():
    one = random_images(1, 16, 16)
    images = np.repeat(one, 64, axis=0)
    before = images.copy()
    results = rand_augment(images, 1, 8, np.random.default_rng(0))
    np.testing.assert_array_equal(images, before)
    assert results.dtype == np.uint8
    possible = [operation(one, full(sign * 0.8, 1))[0] for operation in OPERATIONS for sign in (-1, 1)]
    drawn = {next(k for k, each in enumerate(possible) if (each == result).all()) for result in results}
    assert len(drawn) > 12


def test_erasing_puts_a_rectangle_of_noise_into_the_chosen_images():
    images = np.zeros((400, 20, 30, 3), np.uint8)
    erased = erase(images, 0.5, np.random.default_rng(0)).any(axis=3)
    touched = erased.any(axis=(1, 2))
    assert 150 < touched.sum() < 250
    shares = []
    for mask in erased[touched]:
        rows, columns = mask.any(axis=1), mask.any(axis=0)
        assert np.ptp(np.flatnonzero(rows)) + 1 == rows.sum()  # one block of rows, so no gaps
        box = np.ix_(rows, columns)
        assert mask[box].all() and mask.sum() == rows.sum() * columns.sum()
        shares.append(mask.mean())
    assert min(shares) < 0.06 and 0.3 < max(shares) <= 0.45
    assert not erase(images, 0.0, np.random.default_rng(0)).any()


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 5), st.integers(0, 1000))
def test_mixup_mixes_images_and_targets_by_the_same_share(alpha, seed):
    images = random_images(8, 4, 4)
    labels = np.arange(8) % 5
    mixed, targets = mixup(images, one_hot(labels, 5), alpha, np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    share, partner = rng.beta(alpha, alpha), rng.permutation(8)
    np.testing.assert_allclose(mixed, share * images + (1 - share) * images[partner], rtol=1e-4, atol=1e-3)
    expected = share * np.eye(5)[labels] + (1 - share) * np.eye(5)[labels[partner]]
    np.testing.assert_allclose(targets, expected, atol=1e-6)
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    assert mixed.dtype == targets.dtype == np.float32


@settings(max_examples=60, deadline=None)
@given(st.floats(0.1, 3), st.integers(0, 1000))
def test_cutmix_targets_are_the_share_of_pixels(alpha, seed):
    # Image k is all k: a pixel tells where it came from.
    images = np.broadcast_to(np.arange(6, dtype=np.uint8)[:, None, None, None], (6, 8, 10, 1)).copy()
    mixed, targets = cutmix(images, one_hot(np.arange(6), 6), alpha, np.random.default_rng(seed))
    for result, target in zip(mixed, targets, strict=True):
        np.testing.assert_allclose(np.bincount(result.ravel(), minlength=6) / 80, target, atol=1e-6)
    assert mixed.dtype == np.uint8 and targets.dtype == np.float32
    assert images[3].max() == 3
    pasted = [image[image != number] for number, image in enumerate(mixed)]
    assert len({part.size for part in pasted if part.size}) <= 1  # one box for the batch


EVERYTHING = Augmentation(
    random_resized_crop=(0.5, 1.0),
    flip=True,
    shift=1,
    rand_augment=(2, 5),
    erasing=0.5,
    mixup=0.2,
    cutmix=1.0,
)


def test_augment_with_nothing_on_is_the_identity():
    images, labels = random_images(), np.arange(16) % 3
    same, targets = augment(images, labels, 3, Augmentation(), np.random.default_rng(0))
    np.testing.assert_array_equal(same, images)
    np.testing.assert_array_equal(targets, labels)


def test_augment_is_deterministic_and_leaves_its_input_alone():
    images, labels = random_images(16, 12, 12), np.arange(16) % 3
    before = images.copy()
    for seed in range(4):
        first, second = (augment(images, labels, 3, EVERYTHING, np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])
        assert first[1].shape == (16, 3) and first[0].shape == images.shape
    np.testing.assert_array_equal(images, before)
    assert not np.array_equal(first[0], augment(images, labels, 3, EVERYTHING, np.random.default_rng(99))[0])


def test_with_both_mixes_on_each_batch_gets_one_of_them():
    images, labels = random_images(8, 6, 6), np.arange(8)
    both = Augmentation(mixup=1.0, cutmix=1.0)
    drawn = [augment(images, labels, 8, both, np.random.default_rng(seed))[0].dtype for seed in range(60)]
    assert 15 < sum(kind == np.float32 for kind in drawn) < 45  # mixup gives floats, cutmix keeps bytes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shift": -1}, "shift is -1 pixels"),
        ({"random_resized_crop": (0.0, 1.0)}, "0.0 to 1.0: give shares"),
        ({"random_resized_crop": (0.8, 0.4)}, "0.8 to 0.4: give shares"),
        ({"rand_augment": (0, 5)}, "RandAugment has 0 operations"),
        ({"rand_augment": (2, 11)}, "magnitude 11: .* a magnitude from 0 to 10"),
        ({"erasing": 1.5}, "erasing is 1.5: give a probability"),
        ({"mixup": -0.1}, "mixup is -0.1: give an alpha"),
        ({"cutmix": float("nan")}, "cutmix is nan: give an alpha"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Augmentation(**options)
