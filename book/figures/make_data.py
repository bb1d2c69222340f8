"""Computes what the book's interactive figures show, and a still picture of each for where no script runs.

    python book/figures/make_data.py                        # all but the roofline
    python book/figures/make_data.py roofline RESULTS.json  # from a results.json of python -m tinyvit.bench

Each writes NAME.json and NAME.png beside this file.
"""

import base64
import io
import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image

from tinyvit import no_grad
from tinyvit.analysis import style
from tinyvit.data import Loader, load_dataset, normalise
from tinyvit.models import ViT, ViTConfig, cost
from tinyvit.training import Recipe, TrainStep, Workers, evaluate, learning_rate_at

HERE = Path(__file__).parent
H100 = {"name": "NVIDIA H100 SXM, float32, from its data sheet", "gflops": 67_000, "bandwidth": 3350}  # GB/s


def write(name: str, data: dict) -> None:
    text = json.dumps(data, separators=(",", ":")) + "\n"
    (HERE / f"{name}.json").write_text(text, encoding="utf-8")
    print(f"{name}.json {len(text):,} bytes")


def save(figure, name: str) -> None:
    style.save_figure(figure, HERE / f"{name}.png")


def data_address(image: Image.Image, **options) -> str:
    """An image as a data: address, so that a page needs no other file."""
    file = io.BytesIO()
    image.save(file, **options)
    kind = options["format"].lower()
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def patch_grid() -> None:
    """For each size of patch: tokens, numbers of a patch, looks, and what a ViT-Tiny with it costs."""
    with get_sample_data("grace_hopper.jpg") as file:
        photo = Image.open(file).convert("RGB").crop((56, 0, 456, 400)).resize((224, 224))
    sizes = []
    for patch in (4, 7, 8, 14, 16, 28, 32, 56, 112):
        config = ViTConfig.named("tiny", image_size=224, patch_size=patch)
        price = cost(config)
        sizes.append(
            {
                "patch": patch,
                "patches": config.grid**2,
                "numbers": patch * patch * 3,
                "looks": config.grid**4,
                "parameters": price.parameters,
                "multiply_adds": price.multiply_adds,
            }
        )
    write("patch_grid", {"photo": data_address(photo, format="JPEG", quality=80), "size": 224, "sizes": sizes})
    figure, axes = style.new_figure(7, 2.6, 1, 3)
    for axis, patch in zip(axes, (56, 32, 16), strict=True):
        axis.imshow(np.asarray(photo))
        for edge in range(0, 225, patch):
            axis.axhline(edge - 0.5, color="white", linewidth=1)
            axis.axvline(edge - 0.5, color="white", linewidth=1)
        axis.set_title(f"{(224 // patch) ** 2} patches of {patch} pixels")
        axis.axis("off")
    save(figure, "patch_grid")


def trained(config: ViTConfig, data, *, steps: int, peak: float, warmup: float, schedule: str, std: float = 2.0):
    """A model after so many steps, and the loss of each."""
    model = ViT(config, seed=0, embedding_std=std)
    recipe = Recipe(batch_size=64, beta2=0.98, weight_decay=0.2, workers=2)
    loader, losses = Loader(data, 64, seed=0), []
    with Workers(2) as workers:
        step = TrainStep(model, recipe, workers)
        for epoch in range(steps // loader.steps + 1):
            for images, labels in loader.batches(epoch):
                if len(losses) == steps:
                    return model, losses
                rate = learning_rate_at(
                    len(losses), peak=peak, steps=steps, warmup_steps=round(warmup * steps), schedule=schedule
                )
                losses.append(step(images, labels, len(losses), rate).loss)
    return model, losses


def attention_explorer() -> None:
    """The attention weights of a nano with 7 x 7 patches on test images, each as a byte."""
    train, test = load_dataset("fashion-mini")
    config = ViTConfig.named("nano", image_size=28, patch_size=4, channels=1, classes=10)
    model, _ = trained(config, train, steps=156 * 8, peak=3e-3, warmup=0.05, schedule="cosine")
    with Workers(2) as workers:
        result = evaluate(model, test, workers)
    print(f"attention explorer: accuracy {result.accuracy:.1%}")
    # The first image of each of four kinds that the model names right.
    chosen = [
        int(np.flatnonzero((result.labels == kind) & (result.predicted == kind))[0])
        for kind in map(test.class_names.index, ("Ankle boot", "Dress", "Bag", "Sandal"))
    ]
    with no_grad():
        maps = model.attention_maps(normalise(test.images[chosen]))  # (L, B, H, N, N)
    pictures = []
    for number, index in enumerate(chosen):
        weights = np.rint(255 * maps[:, number] / maps[:, number].max(axis=-1, keepdims=True)).astype(np.uint8)
        pictures.append(
            {
                "name": test.class_names[test.labels[index]],
                "image": data_address(Image.fromarray(255 - test.images[index, :, :, 0]), format="PNG"),
                "weights": base64.b64encode(weights.tobytes()).decode(),
            }
        )
    layers, _, heads, tokens, _ = maps.shape
    write("attention_explorer", {"layers": layers, "heads": heads, "tokens": tokens, "grid": 7, "pictures": pictures})

    figure, axes = style.new_figure(7, 3.2, heads, layers + 1)
    for head in range(heads):
        axes[head, 0].imshow(test.images[chosen[0], :, :, 0], cmap="gray_r", extent=(0, 7, 7, 0))
        axes[head, 0].add_patch(_outline(24))
        axes[head, 0].set_ylabel(f"head {head + 1}")
        for layer in range(layers):
            axis = axes[head, layer + 1]
            axis.imshow(maps[layer, 0, head, 25, 1:].reshape(7, 7), cmap="cividis", extent=(0, 7, 7, 0))
            axis.add_patch(_outline(24))
            if head == 0:
                axis.set_title(f"layer {layer + 1}", fontsize=9)
    for axis in axes.ravel():
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(False)
    save(figure, "attention_explorer")


def _outline(patch: int):
    from matplotlib.patches import Rectangle

    row, column = divmod(patch, 7)
    return Rectangle((column, row), 1, 1, fill=False, edgecolor=style.VERMILION, linewidth=2)


PEAKS = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
WARMUPS = (0.0, 0.05, 0.2)
SCHEDULES = ("cosine", "constant")
STEPS, POINTS = 300, 30


def learning_rate() -> None:
    """The loss of nano over 300 steps for each peak, warm-up and schedule: means over ten steps."""
    train, _ = load_dataset("fashion-mini")
    config = ViTConfig.named("nano", image_size=28, patch_size=7, channels=1, classes=10)
    runs = []
    for schedule in SCHEDULES:
        for warmup in WARMUPS:
            for peak in PEAKS:
                options = {"steps": STEPS, "peak": peak, "warmup": warmup, "schedule": schedule}
                _, losses = trained(config, train, **options)
                means = np.nan_to_num(np.asarray(losses), nan=9.0, posinf=9.0).reshape(POINTS, -1).mean(axis=1)
                rates = [
                    learning_rate_at(i, peak=peak, steps=STEPS, warmup_steps=round(warmup * STEPS), schedule=schedule)
                    for i in range(0, STEPS, 3)
                ]
                runs.append(
                    {
                        "schedule": schedule,
                        "warmup": warmup,
                        "peak": peak,
                        "losses": [round(float(value), 3) for value in means],
                        "rates": [float(f"{rate:.3g}") for rate in rates],
                    }
                )
                print(schedule, warmup, peak, runs[-1]["losses"][-1])
    write("learning_rate", {"steps": STEPS, "peaks": PEAKS, "warmups": WARMUPS, "schedules": SCHEDULES, "runs": runs})
    figure, (left, right) = style.new_figure(7, 2.8, 1, 2)
    shown = [run for run in runs if run["schedule"] == "cosine" and run["warmup"] == 0.05]
    for run, colour in zip(shown, (style.GREY, style.BLUE, style.GREEN, style.ORANGE, style.VERMILION), strict=True):
        left.semilogy(range(0, STEPS, 3), run["rates"], color=colour)
        right.plot(np.arange(POINTS) * 10 + 5, run["losses"], color=colour, label=f"{run['peak']:g}")
    left.set_xlabel("step")
    left.set_title("learning rate")
    left.set_ylim(1e-6, 0.1)
    right.set_xlabel("step")
    right.set_title("loss")
    right.set_ylim(0, 3)
    right.legend(title="peak", fontsize=8)
    save(figure, "learning_rate")


def roofline(results: Path) -> None:
    """The kernels of a training step of tiny at 28/7, as tinyvit.bench measured them."""
    found = json.loads(results.read_text(encoding="utf-8"))
    row = next(row for row in found["rows"] if row["name"].startswith("tiny, 28/7") and row["task"] == "training")
    kernels = [
        {
            "name": part["name"],
            "share": round(part["share"], 4),
            "flop": part["flop"],
            "bytes": part["bytes"],
            "gflops": round(part["flop"] / part["seconds"] / 1e9, 2),
        }
        for part in row["breakdown"]
        if "flop" in part and part["share"] > 0.002
    ]
    ceilings, machine = found["ceilings"], found["machine"]
    here = {
        "name": f"{machine['processor']}, {machine['cores']} cores",
        "gflops": round(max(ceilings["products"].values()), 1),
        "bandwidth": round(max(ceilings["moves"].values()), 1),
    }
    write("roofline", {"row": row["name"], "machines": [here, H100], "kernels": kernels})
    figure, axis = style.new_figure(7, 3.4)
    intensity = np.logspace(-2, 4, 50)
    for machine, colour in ((here, style.BLUE), (H100, style.GREY)):
        axis.loglog(intensity, np.minimum(machine["gflops"], intensity * machine["bandwidth"]), color=colour)
        axis.text(1e4, machine["gflops"] * 1.2, machine["name"], ha="right", fontsize=8, color=colour)
    for kernel in kernels:
        axis.plot(kernel["flop"] / kernel["bytes"], kernel["gflops"], "o", color=style.ORANGE)
    axis.set_ylim(top=6 * H100["gflops"])
    axis.set_xlabel("FLOP for each byte moved")
    axis.set_ylabel("GFLOP/s")
    axis.set_title("The kernels of a training step below the roof")
    save(figure, "roofline")


FIGURES = {function.__name__: function for function in (patch_grid, attention_explorer, learning_rate)}

if __name__ == "__main__":
    if sys.argv[1:2] == ["roofline"]:
        roofline(Path(sys.argv[2]))
    else:
        for name in sys.argv[1:] or FIGURES:
            FIGURES[name]()
