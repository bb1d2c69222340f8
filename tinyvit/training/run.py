"""A run's folder: config.json, metrics.jsonl, the checkpoint to resume from, the models."""

import dataclasses
import json
from pathlib import Path

from tinyvit.data import Dataset
from tinyvit.device import to_numpy
from tinyvit.errors import InputError
from tinyvit.files import read_tensors, write_tensors, write_text
from tinyvit.models import ViTConfig, save_model
from tinyvit.training.settings import Settings
from tinyvit.training.step import TrainStep


@dataclasses.dataclass
class Progress:
    """How far a run has come.

    Attributes:
        epoch, step: the next step to do: epochs done, and steps done in the current one.
        loss, correct, images: sums over the steps of the current epoch.
        seconds: spent on the current epoch so far.
        history: what metrics.jsonl holds, one dict an epoch.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    correct: int = 0
    images: int = 0
    seconds: float = 0.0
    history: list[dict] = dataclasses.field(default_factory=list)

    @property
    def best(self) -> dict:
        """The epoch of the history with the highest test accuracy, the first of several."""
        return max(self.history, key=lambda row: row["test_accuracy"])


class Run:
    """The folder of one run, and the files in it.

    Every file is replaced as a whole, so whenever the process is killed the folder holds a checkpoint from which
    the run can go on.
    """

    def __init__(self, folder: Path, settings: Settings):
        self.folder, self.settings = folder, settings
        self.checkpoint_path = folder / "checkpoint.safetensors"
        self.model_path = folder / "model.safetensors"
        self.best_path = folder / "best.safetensors"
        self.metrics_path = folder / "metrics.jsonl"

    @classmethod
    def create(cls, folder: Path, settings: Settings) -> "Run":
        """Start a run in an empty or new folder.

        Raises:
            InputError: the folder holds something already; nothing in it is touched.
        """
        try:
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                hint = f"go on with --resume {folder} or " if (folder / "config.json").exists() else ""
                raise InputError(f"{folder} holds something already: {hint}choose another --out")
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make folder {folder}: {error.strerror}; choose another --out") from error
        write_text(folder / "config.json", settings.to_json())
        return cls(folder, settings)

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """The run in a folder that :meth:`create` made.

        Raises:
            InputError: no run there, or a config.json that cannot be used.
        """
        path = folder / "config.json"
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"no run in {folder}: {path.name} cannot be read; give the folder of a run") from error
        return cls(folder, Settings.from_json(text, path))

    def save_checkpoint(self, state: TrainStep, progress: Progress) -> None:
        """Write all that is needed to go on from here bit for bit."""
        tensors = {name: to_numpy(array) for name, array in _tensors(state).items()}
        metadata = {"progress": dataclasses.asdict(progress), "settings": self.settings.to_json()}
        write_tensors(self.checkpoint_path, tensors, metadata)

    def load_checkpoint(self, state: TrainStep) -> Progress:
        """Put the state back that :meth:`save_checkpoint` wrote; a fresh start where there is none yet.

        Raises:
            InputError: a checkpoint that is cut short, altered, or of another model or recipe.
        """
        path = self.checkpoint_path
        if not path.exists():
            return Progress()
        saved, metadata = read_tensors(path)
        own = _tensors(state)
        if metadata.get("settings") != self.settings.to_json() or saved.keys() != own.keys():
            raise InputError(f"{path} is of another run: it does not fit config.json beside it; restore one of the two")
        for name, array in own.items():
            if saved[name].shape != array.shape:
                raise InputError(f"{path} is of another model: {name} has shape {saved[name].shape}, not {array.shape}")
            array[...] = state.device.put(saved[name])
        state.flat.update_working()
        return Progress(**metadata["progress"])

    def save_epoch(self, state: TrainStep, progress: Progress, classes: tuple[str, ...], improved: bool) -> None:
        """Write the model as it is now, the best if it is that, the metrics, and last the checkpoint."""
        weights = state.flat.views(to_numpy(state.evaluated_parameters))
        for path in (self.model_path, self.best_path) if improved else (self.model_path,):
            save_model(path, weights, self.settings.model, classes=list(classes))
        write_text(self.metrics_path, "".join(json.dumps(row) + "\n" for row in progress.history))
        self.save_checkpoint(state, progress)


def model_path(given: Path) -> Path:
    """The model that is meant by a run's folder, or by a .safetensors file in it.

    Raises:
        InputError: nothing there, or a run that has not finished an epoch.
    """
    path = given / "model.safetensors" if given.is_dir() else given
    if not path.exists():
        started = given.is_dir() and (given / "config.json").exists()
        hint = f"no epoch is finished yet: python -m tinyvit.train --resume {given}" if started else "train one first"
        raise InputError(f"no model at {path}; {hint}")
    return path


def check_fits(model: ViTConfig, dataset: Dataset) -> None:
    """Refuse images that a model cannot take.

    Raises:
        InputError: another number of classes or another image shape.
    """
    expected = (model.image_size, model.channels, model.classes)
    found = (dataset.image_size, dataset.channels, dataset.classes)
    if expected != found:
        raise InputError(
            f"data set {dataset.name!r} has (image size, channels, classes) {found}, but the model was made for "
            f"{expected}: give the data that it was trained on"
        )


def _tensors(state: TrainStep) -> dict:
    """Views of all arrays that a checkpoint holds, by name."""
    arrays = {"parameters": state.flat.data, **state.optimizer.state}
    if state.average is not None:
        arrays["average"] = state.average
    return {f"{kind}.{name}": view for kind, flat in arrays.items() for name, view in state.flat.views(flat).items()}
