"""The directive ``interactive``: a figure of book/figures to play with, or its still picture where no script runs."""

import html
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive

FIGURES = Path(__file__).parent.parent / "figures"
CAPTIONS = {
    "patch-grid": "Choose a size of patch; click on a patch, or move with the arrow keys.",
    "attention-explorer": (
        "A nano with learned positions, after eight passes over its data. Choose image, layer and head; click on a "
        "patch, or move with the arrow keys."
    ),
    "learning-rate": "Each setting was run once: nano on chapter 0's images, in batches of 64.",
    "roofline": (
        "A training step of tiny at 28 pixels, as python -m tinyvit.bench measured it. The larger a dot, the larger "
        "its share of the time."
    ),
}
"""Name of a figure -> the words below it."""

STILLS = {
    "patch-grid": "A photograph in patches of 56, 32 and 16 pixels.",
    "attention-explorer": (
        "A nano with learned positions, after eight passes over its data: what the patch in the red square looks at, "
        "in each layer and head."
    ),
    "learning-rate": (
        "A warm-up of 5 % of the steps, then a cosine, to and from five peaks; and the loss of a nano with each, run "
        "once on chapter 0's images in batches of 64."
    ),
    "roofline": (
        "The kernels of a training step of tiny at 28 pixels (dots), as python -m tinyvit.bench measured them on a "
        "CPU, below the roof of that CPU; and the roof of a GPU."
    ),
}
"""Name of a figure -> what its still picture shows."""


class Interactive(Directive):
    """``{interactive} NAME``: the figure whose script is NAME.js and whose numbers are NAME.json, with - as _."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        file, caption, shown = name.replace("-", "_"), CAPTIONS[name], STILLS[name]
        environment = self.state.document.settings.env
        if not environment.app.config.html_theme == "sphinx_book_theme" or environment.app.builder.name == "epub":
            still = nodes.figure("", nodes.image(uri=f"/figures/{file}.png", alt=shown))
            still += nodes.caption("", f"{shown} In the book's web page this is a figure to play with.")
            return [still]
        up = "../" * environment.docname.count("/") + "_static/"
        numbers = (FIGURES / f"{file}.json").read_text(encoding="utf-8").replace("</", "<\\/")
        text = (
            f'<link rel="stylesheet" href="{up}interactive.css">\n'
            f'<figure class="interactive" data-figure="{name}">\n'
            f'<div class="stage"><img src="{up}{file}.png" alt="{html.escape(shown)}" width="100%"></div>\n'
            f"<figcaption>{html.escape(caption)}</figcaption>\n"
            f'<script type="application/json">{numbers}</script>\n'
            "</figure>\n"
            f'<script src="{up}interactive.js"></script>\n<script src="{up}{file}.js"></script>\n'
        )
        return [nodes.raw("", text, format="html")]


def setup(app) -> dict:
    app.add_directive("interactive", Interactive)
    return {"parallel_read_safe": True}
