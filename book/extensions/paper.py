"""What the PDF and the EPUB need that the site does not."""

import re

from sphinx.builders.epub3 import Epub3Builder

# A folded cell has two labels, for shut and for open; the second is no help where a fold does not move.
LABELS = re.compile(r"<summary[^>]*>\s*<p class=\"collapsed[^>]*>Show (.*?)</p>.*?</summary>", re.DOTALL)


class EpubBuilder(Epub3Builder):
    """Sphinx's builder, whose contents name each page, and whose manifest says which hold MathML, as EPUB 3 demands."""

    def get_toc(self) -> None:
        super().get_toc()
        for line in self.refnodes:
            if "#" not in line["refuri"]:  # a page, and not a section of one
                line["level"] = min(line["level"], self.config.epub_tocdepth)

    def build_content(self) -> None:
        for style in (self.outdir / "_static").glob("mystnb*.css"):  # see simplify
            style.unlink()
        super().build_content()
        content = self.outdir / "content.opf"
        content.write_text(
            re.sub(r'href="([^"]+\.xhtml)" media-type="[^"]+" (?=/>)', self._item, content.read_text(encoding="utf-8")),
            encoding="utf-8",
        )

    def _item(self, match: re.Match) -> str:
        page = self.outdir / match[1]
        return match[0] + ('properties="mathml" ' if "<math " in page.read_text(encoding="utf-8") else "")


def simplify(app, name: str, template: str, context: dict, doctree) -> None:
    """Sphinx's event for each page: changes ``context`` in place."""
    if "body" in context:
        context["body"] = LABELS.sub(lambda match: f"<summary>{match[1].capitalize()}</summary>", context["body"])
    # Nested rules, which reading devices do not know.
    context["css_files"] = [file for file in context["css_files"] if "mystnb" not in str(file)]


def setup(app) -> dict:
    app.add_builder(EpubBuilder, override=True)
    app.connect("html-page-context", simplify, priority=900)
    return {"parallel_read_safe": True}
