"""The one kind of error that is the user's to mend, and the helper that guesses what was meant."""

import dataclasses
import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something given from outside (a flag, a file, a data set) cannot be used.

    The message is one line: what was given, what was expected, what to do. Commands print it and exit with status 2.
    """


def unknown(kind: str, given: str, known: Iterable[str]) -> InputError:
    """The error for a name that is not among ``known``, with the nearest one as a suggestion."""
    known = list(known)
    near = difflib.get_close_matches(str(given).lower(), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return InputError(f"unknown {kind} {given!r}: {hint}known are {', '.join(known)}")


def check_types(kind: str, dataclass: type, values: dict) -> None:
    """Refuse values, read from a file, that are not those of the fields of ``dataclass``.

    Raises:
        InputError: a field that it does not have, or a value of another type.
    """
    types = {field.name: field.type for field in dataclasses.fields(dataclass)}
    for name, value in values.items():
        if name not in types:
            raise unknown(f"{kind} field", name, types)
        expected = int | float if types[name] is float else types[name]
        if not isinstance(value, expected) or isinstance(value, bool) != (expected is bool):  # True is an int, too
            wanted = getattr(types[name], "__name__", types[name])
            raise InputError(f"{kind} field {name} is {value!r}: it must be of type {wanted}")
