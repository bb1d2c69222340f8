"""The book's mathematics without a network: MathJax beside the site's pages, MathML inside the EPUB's."""

import atexit
import json
import re
import shutil
import subprocess
import unicodedata
from functools import cache
from pathlib import Path

from docutils.nodes import SkipNode
from mathjax_package import CannotFetch, mathjax_folder
from sphinx.errors import ExtensionError

SCRIPT = "mathjax/tex-svg.js"

# A formula in a line, with what is written right before and after it, such as a bracket and a full stop.
GLUED = re.compile(
    r'([^\s<>]{0,20})(<span class="math notr[^>]*>[^<]*</span>|<math\b(?![^>]*display=).*?</math>)([^\s<]*)',
    re.DOTALL,
)


def place_script(app) -> None:
    """Copy MathJax's one script to the site's _static."""
    if app.builder.format != "html" or app.builder.math_renderer_name != "mathjax":
        return
    try:
        source = mathjax_folder() / Path(SCRIPT).name
    except CannotFetch as error:
        raise ExtensionError(str(error)) from None
    target = Path(app.outdir) / "_static" / SCRIPT
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


# A letter of another alphabet: reading devices know it by its own sign, few by the attribute.
LETTER = re.compile(r'<(m[in])[^>]* ?mathvariant="(script|double-struck|bold)">(\w)<')


@cache
def _converter() -> subprocess.Popen:
    """MathJax in Node, which answers each line of JSON with another."""
    script = Path(__file__).with_name("tex_to_mathml.js")
    command = ["node", str(script), str(mathjax_folder())]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    atexit.register(process.kill)
    return process


@cache
def mathml(tex: str, display: bool) -> str:
    """A formula as MathML, by the same reader of TeX as on the site.

    Raises:
        ExtensionError: MathJax cannot be had, or does not understand the formula.
    """
    try:
        process = _converter()
    except (CannotFetch, FileNotFoundError) as error:
        raise ExtensionError(f"no MathML without MathJax in Node: {error}") from None
    process.stdin.write(json.dumps({"tex": tex, "display": display}) + "\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    if "error" in answer:
        raise ExtensionError(f"MathJax does not understand {tex!r}: {answer['error']}")
    return LETTER.sub(lambda match: f"<{match[1]}>{sign(match[2], match[3])}<", answer["mathml"])


def sign(alphabet: str, letter: str) -> str:
    """The one sign for a letter or digit of an alphabet: a script L is U+2112."""
    kind, _, name = unicodedata.name(letter).removeprefix("LATIN ").partition(" LETTER ")
    name = f"{alphabet.upper()} {kind} {name}".rstrip()
    try:
        return unicodedata.lookup(f"MATHEMATICAL {name}")
    except KeyError:  # those that were there before the others have shorter names
        return unicodedata.lookup(name)


def visit_inline(translator, node) -> None:
    translator.body.append(mathml(node.astext(), display=False))
    raise SkipNode


def visit_block(translator, node) -> None:
    translator.body.append(f'<div class="math">{mathml(node.astext(), display=True)}</div>')
    raise SkipNode


def unbroken(page: str) -> str:
    """The page without line breaks between a formula and what touches it; browsers break there as at a space."""

    def wrap(match: re.Match) -> str:
        return f'<span class="unbroken">{match[0]}</span>' if match[1] or match[3] else match[0]

    return GLUED.sub(wrap, page)


def keep_together(app, name: str, template: str, context: dict, doctree) -> None:
    """Sphinx's event for each page: changes ``context`` in place."""
    if "body" in context:
        context["body"] = unbroken(context["body"])


def setup(app) -> dict:
    app.add_html_math_renderer(
        "mathml",
        inline_renderers=(visit_inline, None),
        block_renderers=(visit_block, None),
    )
    app.config.mathjax_path = SCRIPT
    app.config.html_math_renderer = "mathml" if "epub" in app.tags else "mathjax"
    app.connect("builder-inited", place_script)
    app.connect("html-page-context", keep_together)
    # Pages written side by side would talk to one converter at once.
    return {"parallel_read_safe": True, "parallel_write_safe": "epub" not in app.tags}
