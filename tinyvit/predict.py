"""python -m tinyvit.predict: what a trained model sees in pictures, and where it looks."""

from pathlib import Path

import numpy as np

from tinyvit import commands
from tinyvit.analysis import draw_predictions, rollout
from tinyvit.autograd import no_grad, softmax
from tinyvit.data import normalise, read_picture
from tinyvit.errors import InputError
from tinyvit.models import ViT, load_model
from tinyvit.training.run import Run, model_path

SAMPLES = 4  # test images shown when no picture is given
MOST_DRAWN = 40  # rows of a figure that can still be looked at, and made


def main() -> None:
    parser = commands.Parser(
        prog="python -m tinyvit.predict",
        description="Classify pictures with a trained model and draw where it looks (attention rollout).",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder, or one of its .safetensors models")
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
    commands.check_device(given.device)
    if given.top < 1:
        raise InputError(f"--top is {given.top}: give at least 1")
    path = model_path(given.run)
    model, metadata = load_model(path)
    classes = metadata.get("classes") or [f"class {i}" for i in range(model.config.classes)]
    if given.pictures:
        names = [file.name for file in given.pictures]
        config = model.config
        images = np.stack([read_picture(file, config.image_size, config.channels) for file in given.pictures])
    else:
        names, images = samples(Run.open(path.parent))

    probabilities, looks = look(model, images)
    top = np.argsort(-probabilities, axis=1)[:, : given.top]
    for name, row, best in zip(names, probabilities, top, strict=True):
        print(f"{name}: " + ", ".join(f"{classes[i]} {row[i]:.1%}" for i in best))
    picture = given.out or path.with_name("predictions.png")
    few = slice(MOST_DRAWN)
    draw_predictions(names[few], images[few], looks[few], probabilities[few], classes, given.top, picture)
    print(f"where it looks: {picture}" + f" (the first {MOST_DRAWN})" * (len(names) > MOST_DRAWN))


def look(model: ViT, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (B, K) and attention rollout (B, G, G) for uint8 images (B, H, W, C)."""
    ready = normalise(images)
    with no_grad():
        probabilities = softmax(model(ready)).data
    return probabilities, rollout(model.attention_maps(ready), model.config.pool == "class_token")


def samples(run: Run) -> tuple[list[str], np.ndarray]:
    """Names and images of a few test images of the run's data set, of different classes where there are as many."""
    _, test = run.settings.data.load()
    few = test.limited(SAMPLES)
    return [f"labelled {test.class_names[label]}" for label in few.labels], few.images


if __name__ == "__main__":
    commands.run(main)
