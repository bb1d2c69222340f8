"""Settings: model, recipe and data of one run, as config.json holds them."""

import dataclasses
import json
from pathlib import Path

from tinyvit.data import Dataset, load_dataset
from tinyvit.errors import InputError, check_types
from tinyvit.models import ViTConfig
from tinyvit.training.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Which images: the name of a data set, where its files are, and how many of them to use (None for all)."""

    name: str = "fashion-mini"
    folder: str | None = None
    image_size: int | None = None
    limit_train: int | None = None
    limit_test: int | None = None

    def load(self) -> tuple[Dataset, Dataset]:
        """The training and the test images."""
        folder = Path(self.folder) if self.folder else None
        train, test = load_dataset(self.name, image_size=self.image_size, data_dir=folder)
        if self.limit_train is not None:
            train = train.limited(self.limit_train)
        if self.limit_test is not None:
            test = test.limited(self.limit_test)
        return train, test


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that a run is made of: with the same settings, on the same kind of machine, it gives the same bytes."""

    model: ViTConfig
    recipe: Recipe
    data: DataSettings

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, source: Path) -> "Settings":
        """Read back what :meth:`to_json` wrote.

        Raises:
            InputError: no JSON, or settings that this version does not know.
        """
        try:
            values = json.loads(text)
            check_types("data", DataSettings, values["data"])
            return cls(
                ViTConfig.from_dict(values["model"]),
                Recipe.from_dict(values["recipe"]),
                DataSettings(**values["data"]),
            )
        except InputError as error:
            raise InputError(f"{source}: {error}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{source} cannot be read ({error}): was it changed by hand? Restore it or train anew"
            ) from error
