"""What a training run shows on the terminal: header, progress bar, a row an epoch, and how to go on."""

from tqdm import tqdm

from tinyvit.device import CPU, Device
from tinyvit.models import cost
from tinyvit.training.fit import Outcome
from tinyvit.training.run import Progress, Run

COLUMNS = "epoch   train loss   train acc   test acc        lr   images/s"
PROGRAM_BYTES = 70e6  # Python, NumPy and Matplotlib, as measured


class Console:
    """Reports to standard output; the bar goes to standard error and only to a terminal."""

    def __init__(self, run: Run, train_images: int, test_images: int, device: Device = CPU):
        self.run, self.train_images, self.test_images, self.device = run, train_images, test_images, device
        self.bar: tqdm | None = None

    def start(self, progress: Progress, steps_an_epoch: int) -> None:
        self.steps_an_epoch = steps_an_epoch
        model, recipe, data = self.run.settings.model, self.run.settings.recipe, self.run.settings.data
        price = cost(model)
        # The parameters, a gradient for each worker, what the optimiser remembers, the moving average.
        copies = 1 + recipe.workers + (2 if recipe.optimizer == "adamw" else 1) + bool(recipe.ema)
        images = (self.train_images + self.test_images) * model.image_size**2 * model.channels
        memory = PROGRAM_BYTES + images + price.training_bytes(-(-recipe.batch_size // recipe.accumulate), copies)
        steps = recipe.epochs * steps_an_epoch
        print(f"tinyvit    training from scratch, into {self.run.folder}")
        workers = "" if self.device.is_gpu else f", {recipe.workers} worker{'s' * (recipe.workers > 1)}"
        print(f"device     {self.device.name}{workers}, {self.device.precision}")
        print(
            f"data       {data.name}: {self.train_images:,} training and {self.test_images:,} test images, "
            f"{model.classes} classes"
        )
        print(
            f"model      width {model.width}, depth {model.depth}, {model.heads} heads, MLP {model.mlp_width}: "
            f"{price.parameters:,} parameters"
        )
        print(f"input      {model.image_size} px in {model.grid} x {model.grid} patches of {model.patch_size} px")
        print(
            f"recipe     {recipe.epochs} epochs of {steps_an_epoch} steps, batch {recipe.batch_size}, "
            f"{recipe.optimizer}, lr {recipe.learning_rate:g}, {recipe.schedule}"
        )
        print(f"memory     about {memory / 1e9:.1f} GB")
        if progress.epoch == recipe.epochs:
            print(f"finished   all {recipe.epochs} epochs are done: nothing is left to train")
        elif progress.epoch or progress.step:
            print(f"resumed    after epoch {progress.epoch}, step {progress.step} of the next")
        print(f"\n{COLUMNS}")
        for row in progress.history:
            print(_row(row))
        done = progress.epoch * steps_an_epoch + progress.step
        self.bar = tqdm(
            total=steps,
            initial=done,
            desc=f"epoch {min(progress.epoch + 1, recipe.epochs)}",
            bar_format="{desc} {percentage:3.0f}% |{bar}| {remaining} left{postfix}",
            leave=False,
            disable=None,  # no bar where standard error is a file or a pipe
            dynamic_ncols=True,
        )

    def step(self, progress: Progress) -> None:
        self.bar.set_description_str(f"epoch {progress.epoch + 1}", refresh=False)
        self.bar.set_postfix_str(
            f"loss {progress.loss / progress.images:.3f}, accuracy {progress.correct / progress.images:.1%}, "
            f"{progress.images / progress.seconds:.0f} images/s",
            refresh=False,
        )
        self.bar.update(progress.epoch * self.steps_an_epoch + progress.step - self.bar.n)

    def epoch(self, row: dict) -> None:
        tqdm.write(_row(row))

    def close(self) -> None:
        """Take the bar off the screen."""
        if self.bar is not None:
            self.bar.close()

    def finish(self, outcome: Outcome) -> None:
        """Say how it went, where everything is and what to do next."""
        folder, history = self.run.folder, outcome.progress.history
        if outcome.interrupted:
            print(
                f"\nstopped; everything is saved in {folder}. Go on with\n  python -m tinyvit.train --resume {folder}"
            )
            return
        best = outcome.progress.best
        print(
            f"\ntest accuracy  {history[-1]['test_accuracy']:.2%} "
            f"(best {best['test_accuracy']:.2%}, epoch {best['epoch']})"
        )
        print(f"time           {_minutes(sum(row['seconds'] for row in history))} of training")
        print(f"folder         {folder}")
        print("in it          model.safetensors, best.safetensors, metrics.jsonl, curves.png, config.json")
        print(f"try next       python -m tinyvit.evaluate {folder}")
        print(f"               python -m tinyvit.predict {folder} IMAGE...")


def _row(row: dict) -> str:
    return (
        f"{row['epoch']:>5} {row['train_loss']:>12.4f} {row['train_accuracy']:>11.2%} {row['test_accuracy']:>10.2%} "
        f"{row['learning_rate']:>9.2g} {row['images_per_second']:>10.0f}"
    )


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
