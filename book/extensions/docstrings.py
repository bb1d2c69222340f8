"""Reads tinyvit's docstrings, plain text with ``names`` and :roles:, as reStructuredText without surprises."""

import inspect
import re

# What reStructuredText would take for markup in a formula such as x_* or |x|. Literals and roles stay as they are.
LITERAL = re.compile(r"(``.+?``|:[a-z:]+:`[^`]+`|`[^`]+`_)")
MARKUP = re.compile(r"([*|\\]|(?<=\w)_(?=\W|$))")

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")  # of a command; outside of code two hyphens would become a dash

ITEM = re.compile(r"(?<=: )(?=[A-Za-z]\.$)")  # a single letter as an explanation, which is no list's first item

COLON = "\ue000"  # stands for a colon that napoleon must not read: it would take the words before it for a type
WITHOUT_TYPES = ("attribute", "data", "property")

# What a default value looks like that has no name of its own: a module with its path on this machine, or a factory.
NAMELESS = re.compile(r"<module '([\w.]+)'[^>]*>|<factory>")


def escape(line: str) -> str:
    """A docstring's line in which nothing but literals and roles has a meaning."""
    parts = LITERAL.split(line)
    return ITEM.sub(r"\\", "".join(part if number % 2 else plain(part) for number, part in enumerate(parts)))


def plain(text: str) -> str:
    """Text without a literal: no markup in it, arrows that no line break can cut, and options as literals."""
    return OPTION.sub(r"``\g<0>``", MARKUP.sub(r"\\\1", text).replace("->", "→"))


def hide_colons(lines: list[str], first: bool) -> list[str]:
    """The lines with COLON for the colons of what a function returns, and with ``first`` for those of the first."""
    hidden, returns = [], False
    for number, line in enumerate(lines):
        if line.strip() and not line.startswith(" "):
            returns = line == "Returns:"
        inside = line.startswith(" ") if returns else first and number == 0
        hidden.append(line.replace(":", COLON) if inside else line)
    return hidden


def escape_all(lines: list[str]) -> list[str]:
    """The docstring's lines, escaped, but for its examples: from >>> to the next empty line all is code."""
    escaped, example = [], False
    for line in lines:
        example = bool(line.strip()) and (example or line.lstrip().startswith(">>> "))
        escaped.append(line if example else escape(line))
    return escaped


def before_napoleon(app, what, name, obj, options, lines: list[str]) -> None:
    """autodoc's event: changes ``lines`` in place."""
    lines[:] = hide_colons(escape_all(lines), first=what in WITHOUT_TYPES)


def after_napoleon(app, what, name, obj, options, lines: list[str]) -> None:
    """autodoc's event: changes ``lines`` in place."""
    lines[:] = [line.replace(COLON, ":") for line in lines]


def named_defaults(app, what, name, obj, options, signature: str | None, returns: str | None) -> tuple | None:
    """autodoc's event: the signature without what is true of this machine only."""
    if signature is None:
        return None
    return NAMELESS.sub(lambda match: match[1] or "...", signature), returns


def without_modules(app, what, name, obj, skip: bool, options) -> bool | None:
    """autodoc's event: True for a field whose default is a module, whose words would be the module's."""
    return True if inspect.ismodule(obj) and what == "class" else None


def setup(app) -> dict:
    app.connect("autodoc-process-docstring", before_napoleon, priority=100)
    app.connect("autodoc-process-docstring", after_napoleon, priority=900)
    app.connect("autodoc-process-signature", named_defaults)
    app.connect("autodoc-skip-member", without_modules)
    return {"parallel_read_safe": True}
