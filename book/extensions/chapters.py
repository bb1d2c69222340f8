"""Copies the notebooks into the book's sources, and says there what only the book needs to know."""

import ast
import json
import re
from pathlib import Path

# How a cell with one of these tags is shown: folded, below these words.
FOLDED = {
    "solution": ("hide-cell", "Show the solution", "Hide the solution"),
    "check": ("hide-input", "Show the check", "Hide the check"),
    "drawing": ("hide-input", "Show how this is drawn", "Hide how this is drawn"),
}

# In a notebook nobody sees the comment; in the book a figure to play with takes its place.
FIGURE = re.compile(r"<!-- interactive: ([a-z-]+) -->")


# A file or folder of the project, named in the text as code; in a link's words it is no match.
PLACE = re.compile(r"(?<![`\[])`(tinyvit/[\w/]+?|book/derivations)(?:\.py|/)?`(?!`)")


def copy_chapters(notebooks: Path, target: Path, derivations: Path) -> None:
    """Write each of ``notebooks``/NN_name.ipynb to ``target``, and remove what is no longer there.

    A chapter that a page of ``derivations`` refers to gets a link back.
    """
    sources = {path.name: path for path in sorted(notebooks.glob("[0-9][0-9]_*.ipynb"))}
    target.mkdir(exist_ok=True)
    for name, source in sources.items():
        notebook = for_the_book(json.loads(source.read_text(encoding="utf-8")), int(name[:2]), set(sources))
        refer_to(pages_about(name, derivations), notebook)
        write_if_changed(target / name, json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    for path in target.iterdir():
        if path.name not in sources:
            path.unlink()


def pages_about(chapter: str, derivations: Path) -> list[str]:
    """A link to each page of ``derivations`` that has a link to the chapter of that file name."""
    links = []
    for page in sorted(derivations.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if f"(../chapters/{chapter})" in text:
            links.append(f"[{text.partition(chr(10))[0].removeprefix('# ')}](../derivations/{page.name})")
    return links


def refer_to(links: list[str], notebook: dict) -> None:
    """Put the links among the further reading, before the words that lead to the next chapter."""
    for cell in notebook["cells"]:
        if links and cell["cell_type"] == "markdown" and "## Further reading" in cell["source"]:
            text, next_one, rest = cell["source"].partition("\n\nNext: ")
            cell["source"] = f"{text}\n- In the appendix, entry by entry: {', '.join(links)}.{next_one}{rest}"


def write_if_changed(path: Path, text: str) -> None:
    """Leave a file that is the same already, so that Sphinx does not read it again."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def for_the_book(notebook: dict, number: int, names: set[str]) -> dict:
    """The notebook with its number in the title, folded exercises, links that work in the book, figures to play with,
    and words for those who cannot see figures.

    Args:
        notebook: as in the file.
        number: of the chapter.
        names: the notebooks that there are; a link to another becomes its words.
    """
    heading = ""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            if source.startswith("# "):
                source = source.replace("# ", f"# {number}. ", 1)
            cell["source"] = FIGURE.sub(r"```{interactive} \1\n```", relink(source, names))
            heading = (re.findall(r"^#+ (.+)$", source, re.MULTILINE) or [heading])[-1]
            continue
        metadata = cell["metadata"]
        shown = metadata["mystnb"] = {}
        for tag in metadata.get("tags", ()):
            if tag in FOLDED:
                fold, shown["code_prompt_show"], shown["code_prompt_hide"] = FOLDED[tag]
                metadata["tags"] = [*metadata["tags"], fold]
        if any("image/png" in output.get("data", ()) for output in cell["outputs"]):
            shown["image"] = {"alt": title_drawn_by(source) or f"A figure for: {heading}"}
    return notebook


def relink(markdown: str, names: set[str]) -> str:
    """Links to other files as they are right for a page in book/chapters/, and links where a file is only named."""

    def link(match: re.Match) -> str:
        words, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        path = target.partition("#")[0]
        if path in names:
            return match[0]
        if path.startswith("../book/"):
            return f"[{words}]({target.replace('../book/', '../', 1)})"
        if path.startswith("../tinyvit/") and path.endswith(".py"):
            module = path.removeprefix("../").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            return f"{{py:mod}}`{words.strip('`')} <{module}>`"
        return words

    def place(match: re.Match) -> str:
        words, path = match[0].strip("`"), match[1]
        if path == "book/derivations":
            return f"[{match[0]}](../derivations/index.md)"
        there = Path(__file__).parents[2] / path
        is_module = there.with_suffix(".py").exists() if words.endswith(".py") else (there / "__init__.py").exists()
        return f"{{py:mod}}`{words} <{path.replace('/', '.')}>`" if is_module else match[0]

    return PLACE.sub(place, re.sub(r"(?<!!)\[([^\]]+)\]\(([^()\s]+)\)", link, markdown))


def title_drawn_by(code: str) -> str:
    """The first title that a cell's code gives to a figure in plain words, or nothing."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            first = node.args[0]
            if node.func.attr in ("suptitle", "set_title") and isinstance(first, ast.Constant):
                return str(first.value).replace("\n", " ")
    return ""
