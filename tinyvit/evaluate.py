"""python -m tinyvit.evaluate: how good a trained model is, class by class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tinyvit import commands
from tinyvit.analysis import draw_confusion
from tinyvit.models import load_model
from tinyvit.training import Evaluation, evaluate
from tinyvit.training.run import Run, check_fits, model_path
from tinyvit.training.workers import Workers, available_cores


def main() -> None:
    parser = commands.Parser(
        prog="python -m tinyvit.evaluate", description="Measure a trained model on the test images of its data set."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder, or one of its .safetensors models")
    parser.add_argument(
        "--workers", type=int, metavar="N", default=available_cores(), help="threads (default: one a core)"
    )
    commands.add_device(parser)
    given = parser.parse_args()
    device = commands.pick_device(given.device)
    path = model_path(given.run)
    run = Run.open(path.parent)
    model, _ = load_model(path)
    _, test = run.settings.data.load()
    check_fits(model.config, test)

    with Workers(1 if device.is_gpu else given.workers) as workers:
        result = evaluate(model.to(device), test, workers, device)
    print(f"{path} on {test.name}: {len(test):,} test images\n")
    print_classes(result, test.class_names)
    worst = np.array(result.confusion)
    np.fill_diagonal(worst, 0)
    true, predicted = np.unravel_index(worst.argmax(), worst.shape)
    print(f"\naccuracy {result.accuracy:.2%}, loss {result.loss:.4f}")
    if worst[true, predicted]:
        print(
            f"most frequent mistake: {test.class_names[true]} taken for {test.class_names[predicted]}, "
            f"{worst[true, predicted]} times"
        )
    picture = path.with_name("confusion.png")
    draw_confusion(result.confusion, test.class_names, picture)
    print(f"confusion matrix in {picture}")


def print_classes(result: Evaluation, class_names: Sequence[str]) -> None:
    """A row a class: how many there are, how many of them were found, how many called so are."""
    confusion = result.confusion
    width = max(len("class"), *(len(name) for name in class_names))
    print(f"{'class':{width}}   images   recall   precision")
    for i, name in enumerate(class_names):
        recall = _share(confusion[i, i], confusion[i].sum())
        precision = _share(confusion[i, i], confusion[:, i].sum())
        print(f"{name:{width}} {confusion[i].sum():>8,} {recall:>8} {precision:>11}")


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


if __name__ == "__main__":
    commands.run(main)
