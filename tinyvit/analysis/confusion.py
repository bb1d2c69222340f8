"""Which classes are taken for which."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tinyvit.analysis.style import new_figure, save_figure

MOST_NUMBERED = 25  # beyond this many classes, numbers in the cells would be too small to read


def draw_confusion(confusion: np.ndarray, class_names: Sequence[str], path: Path) -> None:
    """Draw a confusion matrix: (K, K) counts, true classes in rows, predicted ones in columns."""
    count = len(class_names)
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    side = min(4 + 0.42 * count, 16)
    figure, axes = new_figure(side + 0.8, side)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.grid(False)
    ticks = range(count) if count <= 2 * MOST_NUMBERED else range(0, count, 10)
    axes.set_xticks(ticks, [class_names[i] for i in ticks], rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, [class_names[i] for i in ticks])
    accuracy = np.trace(confusion) / max(confusion.sum(), 1)
    axes.set(
        title=f"{accuracy:.2%} of {confusion.sum():,} images are on the diagonal",
        xlabel="predicted",
        ylabel="true",
    )
    if count <= MOST_NUMBERED:
        for i, j in np.argwhere(confusion):
            axes.text(
                j,
                i,
                confusion[i, j],
                ha="center",
                va="center",
                fontsize=8,
                color="white" if share[i, j] > 0.5 else "black",
            )
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    save_figure(figure, path)
