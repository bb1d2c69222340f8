"""python -m tinyvit.train: train a Vision Transformer from scratch."""

import argparse
import dataclasses
from pathlib import Path

from tinyvit import commands
from tinyvit.analysis import draw_curves
from tinyvit.data import DATASETS, Augmentation, Dataset, Loader
from tinyvit.errors import InputError, unknown
from tinyvit.models import SIZES, ViTConfig
from tinyvit.training import Recipe, fit
from tinyvit.training.console import Console
from tinyvit.training.fit import Diverged
from tinyvit.training.recipe import RECIPES, default_augmentation
from tinyvit.training.run import Run, check_fits
from tinyvit.training.settings import DataSettings, Settings
from tinyvit.training.workers import available_cores

OTHER_NAMES = {"learning_rate": "lr"}  # options that are not called as the setting is


def parser() -> commands.Parser:
    """Every option's default is None: what was not given comes from the recipe of the size and the data set."""
    made = commands.Parser(
        prog="python -m tinyvit.train",
        usage="python -m tinyvit.train [options]",
        description="Train a Vision Transformer from scratch.",
        epilog="Without options, a nano model learns the embedded data set in a minute or two.",
        argument_default=None,
    )
    made.add_argument(
        "--resume", type=Path, metavar="RUN", help="go on with the run in this folder, with its own settings"
    )
    made.add_argument("--out", type=Path, metavar="FOLDER", help="folder of the run (default runs/SIZE-DATA)")
    commands.add_device(made)
    made.add_argument(
        "--precision", metavar="NAME", help="float32 (default), or on a GPU tf32 or bfloat16, both on its tensor cores"
    )

    data = made.add_argument_group("data")
    data.add_argument(
        "--data", metavar="NAME", help=f"{', '.join(DATASETS)} (default fashion-mini, which comes with tinyvit)"
    )
    data.add_argument("--data-dir", metavar="FOLDER", help="where the files of the data set lie")
    data.add_argument("--limit-train", type=int, metavar="N", help="use so many training images")
    data.add_argument("--limit-test", type=int, metavar="N", help="use so many test images")

    model = made.add_argument_group("model")
    model.add_argument("--size", metavar="NAME", help=f"{', '.join(SIZES)} (default nano)")
    model.add_argument("--image-size", type=int, metavar="N", help="resize images to so many pixels")
    model.add_argument("--patch-size", type=int, metavar="N", help="pixels (default: chosen by the image size)")
    for name in ("width", "depth", "heads", "mlp-width"):
        model.add_argument(f"--{name}", type=int, metavar="N", help=f"instead of the size's {name.replace('-', ' ')}")
    model.add_argument("--pool", metavar="NAME", help="class_token or mean (default class_token)")
    model.add_argument("--position-embedding", metavar="NAME", help="learned (default), learned_2d, sinusoidal or none")
    model.add_argument("--representation", type=int, metavar="N", help="width of a hidden layer before the head")
    model.add_argument("--gelu", metavar="NAME", help="tanh or exact (default tanh)")
    model.add_argument("--dropout", type=float, metavar="RATE", help="as in the paper's Table 3 (default 0)")
    model.add_argument("--stochastic-depth", type=float, metavar="RATE", help="of the last block (default 0)")

    recipe = made.add_argument_group("recipe", "what is not given depends on the size: tinyvit/training/recipe.py")
    recipe.add_argument("--epochs", type=int, metavar="N", help="passes over the training images")
    recipe.add_argument("--batch-size", type=int, metavar="N", help="images a step")
    recipe.add_argument("--accumulate", type=int, metavar="N", help="pass each batch in so many parts, to save memory")
    recipe.add_argument("--optimizer", metavar="NAME", help="adamw or sgd")
    recipe.add_argument("--lr", type=float, metavar="X", dest="learning_rate", help="the learning rate's peak")
    recipe.add_argument("--weight-decay", type=float, metavar="X", help="of matrices, times the learning rate")
    recipe.add_argument("--warmup-epochs", type=float, metavar="X", help="in which the learning rate rises to its peak")
    recipe.add_argument("--schedule", metavar="NAME", help="cosine, linear or constant")
    recipe.add_argument("--clip", type=float, metavar="X", help="largest norm of the gradient, 0 for no limit")
    recipe.add_argument("--loss", metavar="NAME", help="softmax or sigmoid")
    recipe.add_argument("--beta2", type=float, metavar="DECAY", help="of AdamW's mean of squared gradients")
    recipe.add_argument(
        "--embedding-std", type=float, metavar="STD", help="of position and patch embeddings at the start"
    )
    recipe.add_argument("--label-smoothing", type=float, metavar="SHARE", help="of a target, spread over all classes")
    recipe.add_argument("--ema", type=float, metavar="DECAY", help="of the weights' moving average, 0 for none")
    recipe.add_argument("--seed", type=int, metavar="N", help="of all that is random (default 0)")
    recipe.add_argument("--workers", type=int, metavar="N", help="threads (default: one a core)")

    augmentation = made.add_argument_group("augmentation", "what is not given depends on the data set")
    augmentation.add_argument("--flip", action=argparse.BooleanOptionalAction, help="mirror half of the images")
    augmentation.add_argument("--shift", type=int, metavar="N", help="by at most so many pixels")
    augmentation.add_argument(
        "--random-resized-crop", type=float, nargs=2, metavar=("LEAST", "MOST"), help="share of the area, 0 to 1"
    )
    augmentation.add_argument(
        "--rand-augment", type=float, nargs=2, metavar=("N", "M"), help="N operations of magnitude M, 0 to 10"
    )
    augmentation.add_argument("--erasing", type=float, metavar="P", help="probability of erasing a rectangle")
    augmentation.add_argument("--mixup", type=float, metavar="ALPHA", help="mix pairs of images, 0 for no mixing")
    augmentation.add_argument("--cutmix", type=float, metavar="ALPHA", help="paste parts of others, 0 for no pasting")
    return made


def main() -> int:
    given = {name: value for name, value in vars(parser().parse_args()).items() if value is not None}
    device = given.pop("device")
    if "resume" in given:
        folder = given.pop("resume")
        if given:
            options = ", ".join("--" + OTHER_NAMES.get(name, name).replace("_", "-") for name in given)
            raise InputError(f"--resume takes its settings from {folder / 'config.json'}: leave out {options}")
        run = Run.open(folder)
        train, test = run.settings.data.load()
        check_fits(run.settings.model, train)
        device = commands.pick_device(device, run.settings.recipe.precision)
    else:
        out = given.pop("out", None)
        size = given.pop("size", "nano")
        settings, train, test = new_settings(size, given)
        device = commands.pick_device(device, settings.recipe.precision)
        run = Run.create(out or free_folder(Path("runs") / f"{size}-{settings.data.name.split(':')[0]}"), settings)

    console = Console(run, len(train), len(test), device)
    try:
        outcome = fit(run, train, test, console, device)
    except Diverged as error:
        kept = (
            f"the last good checkpoint, {run.checkpoint_path}, is kept"
            if run.checkpoint_path.exists()
            else "no checkpoint was saved yet"
        )
        raise InputError(f"{error}; {kept}: train anew with a lower --lr or a longer --warmup-epochs") from error
    finally:
        console.close()
    if outcome.progress.history:
        draw_curves(outcome.progress.history, run.folder / "curves.png")
    console.finish(outcome)
    return commands.INTERRUPTED if outcome.interrupted else 0


def new_settings(size: str, given: dict) -> tuple[Settings, Dataset, Dataset]:
    """The settings of a new run, from the options given and the recipes, and its images.

    Raises:
        InputError: options that are unknown, out of range, or don't fit together or the data.
    """
    if size not in SIZES:
        raise unknown("size", size, SIZES)
    name = given.pop("data", "fashion-mini")
    if name.startswith("folder:"):
        name = f"folder:{Path(name.removeprefix('folder:')).resolve()}"  # so that a resumed run finds it from anywhere
    data_dir = given.pop("data_dir", None)
    data = DataSettings(
        name,
        data_dir and str(Path(data_dir).resolve()),
        *(given.pop(field, None) for field in ("image_size", "limit_train", "limit_test")),
    )
    recipe = new_recipe(size, name, given)
    train, test = data.load()
    Loader(train, recipe.batch_size, seed=recipe.seed)  # refuses a batch larger than the data before a folder is made
    patch_size = given.pop("patch_size", default_patch_size(train.image_size))
    config = ViTConfig.named(
        size,
        image_size=train.image_size,
        patch_size=patch_size,
        channels=train.channels,
        classes=train.classes,
        **given,
    )
    return Settings(config, recipe, data), train, test


def new_recipe(size: str, data: str, given: dict) -> Recipe:
    """Take the recipe's options out of ``given`` and put them over the recipes of size and data set."""
    if "random_resized_crop" in given:
        given["random_resized_crop"] = tuple(given["random_resized_crop"])
    if "rand_augment" in given:
        operations, magnitude = given["rand_augment"]
        if operations not in range(1, 100):
            raise InputError(f"--rand-augment has {operations:g} operations: give a whole number, at least 1")
        given["rand_augment"] = (int(operations), magnitude)
    augmentation = {f.name: given.pop(f.name) for f in dataclasses.fields(Augmentation) if f.name in given}
    wanted = {f.name: given.pop(f.name) for f in dataclasses.fields(Recipe) if f.name in given}
    recipe = Recipe(**{"workers": available_cores(), **RECIPES[size], **wanted})
    default = default_augmentation(data, recipe.epochs)
    return dataclasses.replace(recipe, augmentation=dataclasses.replace(default, **augmentation))


def default_patch_size(image_size: int) -> int:
    """The largest divisor of the image size, up to 16, that leaves at least 64 patches; 16 below 32 pixels."""
    least = 8 if image_size >= 32 else 4
    fitting = [p for p in range(1, 17) if image_size % p == 0 and image_size // p >= least]
    return max(fitting, default=1)


def free_folder(wanted: Path) -> Path:
    """``wanted``, or with the first number behind it that is not taken."""
    folder, number = wanted, 1
    while folder.exists():
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    return folder


if __name__ == "__main__":
    commands.run(main)
