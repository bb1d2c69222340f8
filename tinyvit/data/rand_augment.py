"""RandAugment: random operations on each image at one magnitude (Cubuk et al. 2020, arXiv:1909.13719)."""

import numpy as np

from tinyvit.data import colours, warps
from tinyvit.device import array_module

MOST_MAGNITUDE = 10

OPERATIONS = (  # the paper's list, section 3
    colours.identity,
    colours.auto_contrast,
    colours.equalize,
    warps.rotate,
    colours.solarize,
    colours.colour,
    colours.posterize,
    colours.contrast,
    colours.brightness,
    colours.sharpness,
    warps.shear_x,
    warps.shear_y,
    warps.translate_x,
    warps.translate_y,
)


def rand_augment(images: np.ndarray, operations: int, magnitude: float, rng: np.random.Generator) -> np.ndarray:
    """Applies ``operations`` random operations to each image, at ``magnitude`` (0 to 10) with a random sign.

    images: uint8 (B, H, W, C). Images that drew the same operation are worked on together.
    """
    xp = array_module(images)
    images = images.copy()
    for _ in range(operations):
        drawn = rng.integers(len(OPERATIONS), size=len(images))
        sign = rng.choice(np.array([-1, 1], np.float32), size=len(images))
        strength = sign * np.float32(magnitude / MOST_MAGNITUDE)
        for number, operation in enumerate(OPERATIONS):
            chosen = np.flatnonzero(drawn == number)
            if chosen.size:
                places = xp.asarray(chosen)
                images[places] = operation(images[places], strength[chosen])
    return images
