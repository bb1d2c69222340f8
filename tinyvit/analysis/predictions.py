"""Pictures, what the model takes them for, and where it looks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tinyvit.analysis.style import BLUE, new_figure, save_figure

LONGEST_TITLE = 26  # characters that fit above an image


def draw_predictions(
    names: Sequence[str],
    images: np.ndarray,
    looks: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    top: int,
    path: Path,
) -> None:
    """Draw a row for each image: the image, the same under its attention rollout, the most probable classes.

    Args:
        names: titles of the images.
        images: uint8 (B, H, W, C).
        looks: attention rollout (B, G, G).
        probabilities: (B, K).
        class_names: of the K classes.
        top: how many classes to show.
        path: of the PNG to write.
    """
    shown = min(top, len(class_names))
    figure, axes = new_figure(9, 2.5 * len(images), len(images), 3, squeeze=False, width_ratios=(1, 1, 1.6))
    for row, name, image, where, probability in zip(axes, names, images, looks, probabilities, strict=True):
        grey = image.shape[-1] == 1
        for panel in row[:2]:
            panel.imshow(image[..., 0] if grey else image, cmap="gray" if grey else None, vmin=0, vmax=255)
            panel.axis("off")
        row[0].set_title(
            name if len(name) <= LONGEST_TITLE else f"{name[: LONGEST_TITLE - 1]}…", fontsize=9, parse_math=False
        )
        extent = (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)
        # Relative to the mean, so that 1 means "as much as any patch".
        relative = where * where.size
        shade = row[1].imshow(
            relative, cmap="viridis", alpha=0.65, extent=extent, interpolation="nearest", vmin=0, vmax=relative.max()
        )
        figure.colorbar(shade, ax=row[1], shrink=0.85, label="attention / mean")
        row[1].set_title("where it looks", fontsize=9)
        best = np.argsort(-probability)[:shown][::-1]
        bars = row[2].barh([class_names[i] for i in best], 100 * probability[best], color=BLUE)
        row[2].bar_label(bars, fmt="%.1f", padding=3)
        row[2].set(xlim=(0, 112))
        row[2].grid(axis="y", visible=False)
    axes[-1, 2].set_xlabel("probability (%)")
    save_figure(figure, path)
