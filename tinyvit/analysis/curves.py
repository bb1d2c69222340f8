"""Loss and accuracy against epochs."""

from pathlib import Path

from tinyvit.analysis.style import BLUE, GREY, VERMILION, new_figure, save_figure


def draw_curves(history: list[dict], path: Path) -> None:
    """Draw a run's history, the rows of metrics.jsonl, as curves.png: loss, accuracy, learning rate."""
    epochs = [row["epoch"] for row in history]
    marker = "o" if len(epochs) < 30 else None
    figure, (left, right) = new_figure(11, 4, columns=2)
    for axes, quantity, factor in ((left, "loss", 1), (right, "accuracy", 100)):
        lower = min(("train", "test"), key=lambda name, quantity=quantity: history[-1][f"{name}_{quantity}"])
        for name, colour in (("train", BLUE), ("test", VERMILION)):
            values = [factor * row[f"{name}_{quantity}"] for row in history]
            axes.plot(epochs, values, color=colour, marker=marker, markersize=3.5)
            axes.annotate(
                f"{name} {values[-1]:.1f} %" if factor == 100 else f"{name} {values[-1]:.3f}",
                (epochs[-1], values[-1]),
                xytext=(6, 0),
                textcoords="offset points",
                color=colour,
                va="top" if name == lower else "bottom",  # so that labels of curves that end together don't overlap
                annotation_clip=False,
            )
    left.set(title="Loss", xlabel="epoch", ylabel="cross-entropy")
    right.set(title="Accuracy", xlabel="epoch", ylabel="images classified correctly (%)")
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlim(min(epochs) - 0.2, max(epochs) + 0.2 if len(epochs) > 1 else 2)
    best = max(history, key=lambda row: row["test_accuracy"])
    right.axhline(100 * best["test_accuracy"], color=GREY, linewidth=0.8, linestyle=":")
    right.annotate(
        f"best {100 * best['test_accuracy']:.2f} %, epoch {best['epoch']}",
        (0.02, 100 * best["test_accuracy"]),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        color=GREY,
        fontsize=9,
    )
    save_figure(figure, path)
