"""python -m tinyvit.predict: what a trained model sees in pictures, and where it looks."""

from pathlib import Path

import numpy as np

from tinyvit import checkpoints, commands
from tinyvit.analysis import draw_predictions, rollout
from tinyvit.autograd import no_grad, softmax
from tinyvit.device import CPU, Device, to_numpy
from tinyvit.errors import InputError
from tinyvit.models import ViT
from tinyvit.training.run import Run

SAMPLES = 4  # test images shown when no picture is given
MOST_DRAWN = 40  # rows of a figure that can still be looked at, and made


def main() -> None:
    parser = commands.Parser(
        prog="python -m tinyvit.predict",
        description="Classify pictures with a trained model and draw where it looks (attention rollout).",
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help=checkpoints.HELP)
    parser.add_argument(
        "pictures",
        type=Path,
        nargs="*",
        metavar="IMAGE",
        help="picture files; without any, some test images of the run",
    )
    parser.add_argument("--top", type=int, metavar="N", default=5, help="classes shown for each picture (default 5)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the figure (default predictions.png beside the model)"
    )
    commands.add_device(parser)
    given = parser.parse_args()
    device = commands.pick_device(given.device)
    if given.top < 1:
        raise InputError(f"--top is {given.top}: give at least 1")
    opened = checkpoints.open_model(given.checkpoint)
    model, config = opened.model.to(device), opened.model.config
    if given.pictures:
        names = [file.name for file in given.pictures]
        read = config.preprocessing.read
        images = np.stack([read(file, config.image_size, config.channels) for file in given.pictures])
    elif opened.own:
        names, images = samples(Run.open(opened.path.parent))
    else:
        raise InputError(f"no pictures: {opened.path} comes from no run with test images; give picture files")

    shown = min(given.top, config.classes)
    probabilities = np.stack([classify(model, image, device) for image in images])
    for name, row in zip(names, probabilities, strict=True):
        best = np.argsort(-row)[:shown]
        print(f"{name}: " + (", ".join(f"{opened.class_names[i]} {row[i]:.1%}" for i in best) or "no head, no class"))
    looks = np.stack([look(model, image, device) for image in images[:MOST_DRAWN]])
    picture = given.out or opened.path.with_name("predictions.png")
    few = slice(MOST_DRAWN)
    draw_predictions(names[few], images[few], looks, probabilities[few], opened.class_names, shown, picture)
    print(f"where it looks: {picture}" + f" (the first {MOST_DRAWN})" * (len(names) > MOST_DRAWN))


def classify(model: ViT, image: np.ndarray, device: Device = CPU) -> np.ndarray:
    """Probabilities (K,) for a uint8 image (H, W, C); of a model, on ``device``, without a head, none (0,)."""
    if not model.config.classes:
        return np.empty(0, np.float32)
    with no_grad():
        return to_numpy(softmax(model(model.config.preprocessing.prepare(device.put(image[None])))).data)[0]


def look(model: ViT, image: np.ndarray, device: Device = CPU) -> np.ndarray:
    """Attention rollout (G, G) for a uint8 image (H, W, C). One at a time: a large model's maps take half a GB."""
    config = model.config
    maps = model.attention_maps(config.preprocessing.prepare(device.put(image[None])))
    return rollout(maps, config.pool == "class_token", config.extra_tokens)[0]


def samples(run: Run) -> tuple[list[str], np.ndarray]:
    """Names and images of a few test images of the run's data set, of different classes where there are as many."""
    _, test = run.settings.data.load()
    few = test.limited(SAMPLES)
    return [f"labelled {test.class_names[label]}" for label in few.labels], few.images


if __name__ == "__main__":
    commands.run(main)
