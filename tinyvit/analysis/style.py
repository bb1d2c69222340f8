"""One look for every figure: the palette, which colour-blind readers can tell apart, and how a figure is saved."""

from pathlib import Path

from tinyvit.files import write_atomically

# Okabe and Ito (2008).
BLUE, ORANGE, GREEN, VERMILION, PURPLE, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#666666",
)


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **options):
    """A figure of so many inches, with its axes (one, or an array of rows x columns), in tinyvit's style."""
    import matplotlib

    if "inline" not in matplotlib.get_backend():  # a notebook shows its figures itself
        matplotlib.use("Agg")  # files only, so that a machine without a screen draws the same
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {
            "font.size": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 11,
            "axes.titlelocation": "left",
            "axes.grid": True,
            "grid.color": "#E5E5E5",
            "axes.axisbelow": True,
            "legend.frameon": False,
        }
    )
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", **options)


def save_figure(figure, path: Path) -> None:
    """Write a figure as PNG, atomically, and close it.

    Raises:
        InputError: the file cannot be written.
    """
    import matplotlib.pyplot as plt

    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=150, format="png"))
    plt.close(figure)
