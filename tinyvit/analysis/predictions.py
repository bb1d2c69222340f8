"""Pictures, what the model takes them for, and where it looks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tinyvit.analysis.style import BLUE, new_figure, save_figure

LONGEST_TITLE = 26  # characters that fit above an image
LONGEST_CLASS = 30  # and beside a bar
MOST_BARS = 20  # in a row that is not higher than the page


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
        top: how many classes to show, no more than 20; of a model without any, none are.
        path: of the PNG to write.
    """
    shown = min(top, len(class_names), MOST_BARS)
    # A row grows with its bars, so that no name runs into the next.
    height = max(2.5, 0.25 * shown)
    widths = (1, 1, 1.6) if shown else (1, 1)
    figure, axes = new_figure(
        2.5 * sum(widths), height * len(images), len(images), len(widths), squeeze=False, width_ratios=widths
    )
    for row, name, image, where, probability in zip(axes, names, images, looks, probabilities, strict=True):
        # In grey below the attention, so that its colours are those of the bar beside it.
        grey = image.mean(axis=-1)
        row[0].imshow(image if image.shape[-1] == 3 else grey, cmap="gray", vmin=0, vmax=255)
        row[1].imshow(grey, cmap="gray", vmin=0, vmax=255)
        for panel in row[:2]:
            panel.axis("off")
        row[0].set_title(_shortened(name, LONGEST_TITLE), fontsize=9, parse_math=False)
        extent = (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)
        # Relative to the mean, so that 1 means "as much as any patch".
        relative = where * where.size
        shade = row[1].imshow(
            relative, cmap="viridis", alpha=0.65, extent=extent, interpolation="nearest", vmin=0, vmax=relative.max()
        )
        figure.colorbar(shade, ax=row[1], shrink=2.1 / height, label="attention / mean")
        row[1].set_title("where it looks", fontsize=9)
        if shown:
            _draw_bars(row[2], probability, class_names, shown)
    if shown:
        axes[-1, 2].set_xlabel("probability (%)")
    save_figure(figure, path)


def _draw_bars(panel, probability: np.ndarray, class_names: Sequence[str], shown: int) -> None:
    """The most probable classes, the first at the top."""
    best = np.argsort(-probability)[:shown][::-1]
    bars = panel.barh(range(shown), 100 * probability[best], color=BLUE)
    panel.bar_label(bars, fmt="%.1f", padding=3)
    names = [_shortened(class_names[i], LONGEST_CLASS) for i in best]
    panel.set_yticks(range(shown), names, fontsize=9, parse_math=False)
    panel.set(xlim=(0, 112))
    panel.grid(axis="y", visible=False)


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
