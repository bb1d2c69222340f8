"""Reads tinyvit's docstrings, plain text with ``names`` and :roles:, as reStructuredText without surprises."""

import re

# What reStructuredText would take for markup in a formula such as x_* or |x|. Literals and roles stay as they are.
LITERAL = re.compile(r"(``.+?``|:[a-z:]+:`[^`]+`|`[^`]+`_)")
MARKUP = re.compile(r"([*|\\]|(?<=\w)_(?=\W|$))")


def escape(line: str) -> str:
    """A docstring's line in which nothing but literals and roles has a meaning."""
    parts = LITERAL.split(line)
    return "".join(part if number % 2 else MARKUP.sub(r"\\\1", part) for number, part in enumerate(parts))


def plain(app, what, name, obj, options, lines: list[str]) -> None:
    """autodoc's event: changes ``lines`` in place."""
    lines[:] = [escape(line) for line in lines]


def setup(app) -> dict:
    app.connect("autodoc-process-docstring", plain, priority=900)  # after napoleon, which looks for its own marks
    return {"parallel_read_safe": True}
