"""What a probe is, and how one is run."""

import warnings
from collections.abc import Callable, Iterable

LONGEST = 200  # characters of what a library says: some tell their whole story

Probe = Callable[[], str | Iterable[str]]
"""Says what it found, in a line or in several. Raises Missing, Broken or anything else."""


class Missing(Exception):
    """Something is not there. The arguments: what, and what to do about it."""


class Broken(Exception):
    """Something is there and does not work. The arguments: what, and what to do about it."""


def run(probe: Probe) -> tuple[str, list[str]]:
    """A probe's state, "ok", "missing" or "broken", and the lines to show."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = probe()
            return "ok", [found] if isinstance(found, str) else list(found)
    except (Missing, Broken) as error:
        text, advice = error.args
        return type(error).__name__.lower(), [f"{_one_line(text)}: {advice}"]
    except Exception as error:
        said = f"{type(error).__name__}: {error}".rstrip(": ")
        return "broken", [f"{_one_line(said)}: install again what this names, or report it"]


def _one_line(text: str) -> str:
    text = " ".join(str(text).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
