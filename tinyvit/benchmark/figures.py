"""The pictures: how near each kernel comes to the machine's limits, what takes the time, and who is faster."""

import itertools
from pathlib import Path

import numpy as np

from tinyvit.analysis.style import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION, new_figure, save_figure
from tinyvit.benchmark.breakdown import Part
from tinyvit.benchmark.ceilings import Ceilings
from tinyvit.benchmark.compare import Measured

SMALLEST_SHARE = 0.01  # of a step; what takes less is not drawn by itself
COLOURS = {"linear": BLUE, "mlp": VERMILION, "attention": GREEN, "layer norm": PURPLE}  # by kind of kernel
LABEL_DISTANCES = (14, 24, 36, 50, 66, 85, 110, 140, 175, 215)  # from the point, in pixels
POINTS_A_PIXEL = 72 / 100  # Matplotlib's own resolution; files have another
# Degrees; the first is to the right.
LABEL_ANGLES = (0, 180, 270, 90, 315, 45, 225, 135, 295, 335, 205, 245, 190, 350, 260, 280)


def draw_rooflines(all_measured: list[Measured], ceilings: Ceilings, path: Path) -> None:
    """A panel a row: each kernel's GFLOP/s against its FLOP for each byte, below the machine's roof.

    The roof is Williams, Waterman and Patterson's (2009): memory limits on the left, arithmetic on the right. The area
    of a point is its kernel's share of the step.
    """
    figure, panels = _panels(len(all_measured), 6.6, 5.2)
    drawn = []
    for axes, measured in zip(panels, all_measured, strict=True):
        kernels = [part for part in measured.parts if part.work]
        parts = [part for part in kernels if part.share >= SMALLEST_SHARE] or kernels
        points = np.array([(part.work.intensity, part.gflops) for part in parts])
        left, right = min(0.1, *points[:, 0]) / 1.5, max(200, *points[:, 0]) * 2
        roof = np.array([(x, ceilings.gflops_at(x)) for x in np.geomspace(left, right, 400)])
        axes.plot(*roof.T, color=GREY)
        names = [readable(part.name) for part in parts]
        sizes = [25 + 400 * part.share for part in parts]
        axes.scatter(*points.T, s=sizes, color=[_colour(name) for name in names], linewidths=0)
        axes.set(
            xscale="log",
            yscale="log",
            xlim=(left, right),
            ylim=(min(5, *points[:, 1]) / 2, max(ceilings.gflops, *points[:, 1]) * 3),
            title=measured.row.name,
            xlabel="FLOP for each byte that must move",
            ylabel="GFLOP/s",
        )
        drawn.append((axes, names, points, roof))
    figure.suptitle(
        "How near a training step's kernels come to the machine's limits\n"
        "(area: share of the step; above the slope: data came from the cache)"
    )
    figure.canvas.draw()  # now everything has its place and size, and labels can be put where there is room
    for axes, names, points, roof in drawn:
        _label(axes, names, points, roof, _label_roof(axes, roof, ceilings))
    save_figure(figure, path)


def draw_parts(all_measured: list[Measured], path: Path) -> None:
    """A panel a row: milliseconds of a training step that each kernel takes."""
    most = max(len(_without_small(measured.parts)) for measured in all_measured)
    figure, panels = _panels(len(all_measured), 6.6, 1.4 + 0.26 * most)
    for axes, measured in zip(panels, all_measured, strict=True):
        parts = _without_small(measured.parts)
        names = [readable(part.name) for part in parts]
        times = [1e3 * part.seconds for part in parts]
        axes.barh(names, times, color=[BLUE if part.work else GREY for part in parts])
        for i, part in enumerate(parts):
            axes.annotate(
                f"{times[i]:.3g} ms, {part.share:.0%}",
                (times[i], i),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(title=measured.row.name, xlabel="ms of a training step", xlim=(0, 1.35 * max(times)))
    figure.suptitle("Where the time of a training step goes")
    save_figure(figure, path)


def draw_ratios(all_measured: list[Measured], opponents: tuple[str, ...], path: Path) -> None:
    """A bar a row and task: how fast tinyvit is next to PyTorch, with a dot for each pair of turns."""
    names = list(dict.fromkeys(measured.row.name for measured in all_measured))
    bars = [(task, side) for side in opponents for task in dict.fromkeys(m.task for m in all_measured)]
    colours = dict(zip(bars, (BLUE, ORANGE, GREEN, VERMILION), strict=False))
    height = 0.8 / len(bars)
    figure, axes = new_figure(9, 1.6 + 0.45 * len(bars) * len(names))
    longest = 1.0
    for task, side in bars:
        for measured in (m for m in all_measured if m.task == task):
            place = names.index(measured.row.name) + (bars.index((task, side)) - (len(bars) - 1) / 2) * height
            ratios, median = measured.ratios(side), measured.ratio(side)
            axes.barh(
                place,
                median,
                0.9 * height,
                color=colours[task, side],
                label=f"{task}, {side}" if len(opponents) > 1 else task,
            )
            axes.scatter(ratios, [place] * len(ratios), s=9, color="black", zorder=3, linewidths=0)
            axes.annotate(
                f"{median:.2f}",
                (1.01, place),
                xycoords=("axes fraction", "data"),
                va="center",
            )
            longest = max(longest, *ratios)
    axes.axvline(1, color=GREY, linewidth=1.2)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set(xlim=(0, 1.05 * longest), xlabel="images per second, tinyvit / PyTorch (1: equally fast)")
    axes.set_title("How fast tinyvit is next to PyTorch (dots: pairs of turns; bar and number: median)")
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(bars))
    save_figure(figure, path)


def _without_small(parts: list[Part]) -> list[Part]:
    """The parts with those that are too small for a bar put together."""
    small = [part for part in parts if part.work and part.share < SMALLEST_SHARE]
    if len(small) < 2:
        return parts
    together = Part(
        f"{len(small)} smaller kernels",
        sum(part.calls for part in small),
        sum(part.seconds for part in small),
        sum(part.share for part in small),
    )
    large = [part for part in parts if part not in small]
    return [*large[:-1], together, large[-1]]


def readable(name: str) -> str:
    """A kernel's name without underscores."""
    return name.replace("_", " ")


def _panels(count: int, width: float, height: float):
    """A figure and a list of so many axes, each of so many inches, two side by side."""
    columns = min(count, 2)
    rows = -(-count // columns)
    figure, axes = new_figure(width * columns + 0.6, height * rows + 0.4, rows, columns, squeeze=False)
    flat = list(axes.flat)
    for unused in flat[count:]:
        unused.set_visible(False)
    return figure, flat[:count]


def _label_roof(axes, roof: np.ndarray, ceilings: Ceilings) -> list:
    """Write both ceilings along their lines; gives the texts."""
    style = {"color": GREY, "fontsize": 9}
    flat = axes.annotate(
        f"matrix products {ceilings.gflops:.0f} GFLOP/s",
        (ceilings.gflops / ceilings.bandwidth, ceilings.gflops),
        xytext=(-4, 4),  # left of the corner: the names crowd on its right
        textcoords="offset points",
        ha="right",
        **style,
    )
    middle = (roof[0, 0] * ceilings.gflops / ceilings.bandwidth) ** 0.5  # of the slope
    (x0, y0), (x1, y1) = axes.transData.transform([(1, 1), (2, 2)])
    slope = axes.text(
        middle,
        1.25 * middle * ceilings.bandwidth,
        f"memory {ceilings.bandwidth:.0f} GB/s",
        rotation=np.degrees(np.arctan2(y1 - y0, x1 - x0)),
        rotation_mode="anchor",
        ha="center",
        va="bottom",
        **style,
    )
    return [flat, slope]


def _label(axes, names: list[str], points: np.ndarray, line: np.ndarray, texts: list) -> None:
    """Write each name beside its point, at the nearest place where it covers no point, name, text nor the line, and the
    stroke that leads to it no point, name nor text."""
    pixels = axes.transData.transform(points)
    taken = [(x - 9, y - 9, x + 9, y + 9) for x, y in pixels]
    on_line = [(x, y, x + 1, y + 1) for x, y in axes.transData.transform(line)]
    taken += [tuple(text.get_window_extent().extents) for text in texts]
    frame = axes.get_window_extent().extents
    # The crowd is on the right, so those are labelled first.
    for i in np.argsort(-pixels[:, 0]):
        others = taken[:i] + taken[i + 1 :]
        for distance, angle in itertools.product(LABEL_DISTANCES, np.deg2rad(LABEL_ANGLES)):
            place = distance * np.array([np.cos(angle), np.sin(angle)])
            text = axes.annotate(
                names[i],
                points[i],
                xytext=place * POINTS_A_PIXEL,
                textcoords="offset points",
                ha="left" if place[0] > 1 else "right" if place[0] < -1 else "center",
                va="center" if abs(place[1]) < 1 else "bottom" if place[1] > 0 else "top",
                color=_colour(names[i]),
                fontsize=9,
            )
            box = tuple(text.get_window_extent().extents)
            stroke = [(x - 2, y - 2, x + 2, y + 2) for x, y in pixels[i] + np.linspace(0.1, 1, 30)[:, None] * place]
            fits = not any(_overlap(box, b) for b in (*others, *on_line))
            if fits and _inside(box, frame) and not any(_overlap(a, b) for a in stroke for b in others):
                break
            text.remove()
        else:
            continue  # no room at all: rather no name than one that hides others
        taken.append(box)
        if distance > LABEL_DISTANCES[0]:
            taken += stroke
            style = {"arrowstyle": "-", "color": _colour(names[i]), "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", points[i], xytext=place * POINTS_A_PIXEL, textcoords="offset points", arrowprops=style)


def _colour(name: str) -> str:
    """One for each kind of kernel."""
    return next((colour for kind, colour in COLOURS.items() if kind in name), GREY)


def _inside(box, frame) -> bool:
    return frame[0] < box[0] and box[2] < frame[2] and frame[1] < box[1] and box[3] < frame[3]


def _overlap(a, b) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
