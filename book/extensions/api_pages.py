"""Writes a page for each package of tinyvit, from which autodoc makes the API reference."""

import ast
from pathlib import Path

from chapters import write_if_changed

OPTIONS = "   :members:\n"


def write_api_pages(package: Path, target: Path) -> None:
    """Write ``target``/NAME.rst for ``package`` and each package below it, and index.rst; remove all others.

    Args:
        package: the folder of the top package. Nothing is imported.
        target: the folder of the pages.
    """
    target.mkdir(exist_ok=True)
    folders = sorted(path.parent for path in package.rglob("__init__.py"))
    pages = {"index": index_page([name_of(folder, package) for folder in folders])}
    for folder in folders:
        pages[name_of(folder, package)] = package_page(folder, package)
    for name, text in pages.items():
        write_if_changed(target / f"{name}.rst", text)
    for path in target.iterdir():
        if path.stem not in pages:
            path.unlink()


def name_of(path: Path, package: Path) -> str:
    """``tinyvit.nn.linear`` for .../tinyvit/nn/linear.py."""
    return ".".join(path.with_suffix("").relative_to(package.parent).parts)


def index_page(names: list[str]) -> str:
    return (
        "API reference\n=============\n\n"
        "Every public module, class and function, in the words of its docstring. A page holds a package; the packages "
        "stand in the order of the alphabet. To learn what belongs to what, read the "
        ":doc:`map from the paper to the code </paper_to_code>` first.\n\n"
        ".. only:: print or epub\n\n   It is on the book's site, which is made by ``python book/build.py html``.\n\n"
        ".. toctree::\n   :maxdepth: 1\n\n" + "".join(f"   {name}\n" for name in names)
    )


def package_page(folder: Path, package: Path) -> str:
    """The package's own words, the names that it offers, and then a section for each of its modules."""
    name = name_of(folder, package)
    exported = exports(folder / "__init__.py")
    own_members = "" if exported else OPTIONS
    parts = [heading(name, "="), f".. automodule:: {name}\n{own_members}\n"]
    if exported:
        roles = (f":py:obj:`~{home(item, origin, package)}.{item}`" for item, origin in exported.items())
        parts.append(f"**To be imported from here:** {', '.join(roles)}.\n\n")
    for path in sorted(folder.glob("*.py")):
        if not path.stem.startswith("_"):
            module = name_of(path, package)
            parts.append(heading(path.stem, "-") + f".. automodule:: {module}\n{OPTIONS}\n")
    return "".join(parts)


def heading(name: str, rule: str) -> str:
    return f"{name}\n{rule * len(name)}\n\n"


def exports(init: Path) -> dict[str, str]:
    """The names that a package's __init__ imports from its modules and lists in ``__all__``, with where they are."""
    tree = ast.parse(init.read_text(encoding="utf-8"))
    origins, listed = {}, []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            origins.update({alias.asname or alias.name: node.module for alias in node.names})
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            listed = [item.value for item in getattr(node.value, "elts", ()) if isinstance(item, ast.Constant)]
    return {name: origins[name] for name in listed if name in origins}


def home(item: str, module: str, package: Path) -> str:
    """The module that defines ``item``, where ``module`` may be a package that imports it from there."""
    init = package.parent.joinpath(*module.split("."), "__init__.py")
    if not init.exists():
        return module
    origin = exports(init).get(item)
    return home(item, origin, package) if origin else module
