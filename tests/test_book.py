"""The book: builds without a warning, holds every chapter, needs no network, and says what the code says."""

import html
import html.parser
import importlib
import json
import pkgutil
import re
import zipfile
from pathlib import Path

import pytest
from book_site import BOOK, build

import tinyvit

NOTEBOOKS = sorted((BOOK.parent / "notebooks").glob("[0-9]*.ipynb"))
MADE = ("_build", "api", "chapters")
PAGES = sorted(path for path in BOOK.rglob("*.md") if path.relative_to(BOOK).parts[0] not in MADE)
DERIVATIONS = [path for path in PAGES if path.parent.name == "derivations" and path.stem != "index"]
MOST_COLUMNS = 72
LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}


class Elements(html.parser.HTMLParser):
    """Every start tag of a page, as (name, attributes)."""

    def __init__(self, page: Path):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def code_of(page: Path, language: str = "python") -> str:
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S))


def markdown_of(page: Path) -> str:
    """The text of a page or of a notebook."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".md":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def roles_of(page: Path) -> list[str]:
    """The names that a page refers to."""
    return re.findall(r"\{py:\w+\}`(?:[^`<]*<)?~?([\w.]+)>?`", page.read_text(encoding="utf-8"))


def resolve(name: str):
    """The thing of a dotted name; AttributeError or ModuleNotFoundError where there is none."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            thing = getattr(thing, part)
        return thing
    raise ModuleNotFoundError(name)


def test_every_chapter_is_in_the_site_and_in_its_contents(site):
    links = {attributes.get("href") for tag, attributes in Elements(site / "index.html").found if tag == "a"}
    assert NOTEBOOKS
    for notebook in NOTEBOOKS:
        assert f"chapters/{notebook.stem}.html" in links
        assert (site / "chapters" / f"{notebook.stem}.html").exists()


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_exercises_and_drawings_are_folded(site, notebook):
    tags = [tag for cell in json.loads(notebook.read_text())["cells"] for tag in cell["metadata"].get("tags", ())]
    page = (site / "chapters" / f"{notebook.stem}.html").read_text()
    assert page.count("Show the solution") == tags.count("solution") > 0
    assert page.count("Show the check") == tags.count("check") > 0
    assert page.count("Show how this is drawn") == tags.count("drawing") > 0


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_figure_to_play_with_stands_where_the_notebook_wants_one(site, notebook):
    wanted = re.findall(r"<!-- interactive: ([a-z-]+) -->", notebook.read_text(encoding="utf-8"))
    page = site / "chapters" / f"{notebook.stem}.html"
    found = [attributes["data-figure"] for _, attributes in Elements(page).found if "data-figure" in attributes]
    assert found == wanted
    for tag, attributes in Elements(page).found:
        if tag == "script" and "src" in attributes:
            assert (page.parent / attributes["src"].partition("?")[0]).exists()


def test_no_link_within_the_site_is_dead(site):
    pages = {page: Elements(page).found for page in site.rglob("*.html") if "_static" not in page.parts}
    places = {
        page: {attributes[key] for _, attributes in found for key in ("id", "name") if attributes.get(key)}
        for page, found in pages.items()
    }
    links = 0
    for page, found in pages.items():
        for tag, attributes in found:
            link = attributes.get("href") or ""
            if tag != "a" or not link or re.match(r"[a-z]+:", link):
                continue
            links += 1
            file, _, place = link.partition("#")
            target = (page.parent / file.partition("?")[0]).resolve() if file else page
            assert target.exists(), f"{page.name}: {link}"
            assert not place or place in places[target], f"{page.name}: {link}"
    assert links > 1000


def test_chapters_and_derivations_refer_to_each_other(site):
    linked = 0
    for page in DERIVATIONS:
        for chapter in re.findall(r"\(\.\./chapters/(\w+)\.ipynb\)", page.read_text(encoding="utf-8")):
            there = (site / "chapters" / f"{chapter}.html").read_text(encoding="utf-8")
            assert f'href="../derivations/{page.stem}.html"' in there.partition('id="further-reading"')[2]
            linked += 1
    assert linked > 5


def test_nothing_is_loaded_from_elsewhere(site):
    for page in site.rglob("*.html"):
        for tag, attributes in Elements(page).found:
            source = attributes.get(LOADS.get(tag, ""), "") or ""
            assert not re.match(r"(https?:)?//", source), f"{page.name} loads {source}"
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", style.read_text(encoding="utf-8")), style


def test_the_pages_name_what_exists(site):
    for page in PAGES:
        for name in roles_of(page):
            resolve(name)
    named = roles_of(BOOK / "paper_to_code.md")
    linked = re.findall(r'href="api/[^"#]+#(?:module-)?([\w.]+)"', (site / "paper_to_code.html").read_text())
    assert len(named) > 30
    assert sorted(named) == sorted(linked), "a name is in no page of the API reference: has it a docstring?"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_each_file_that_a_page_names_is_there(page):
    """``nn/encoder.py`` is tinyvit's, ``tests/test_x.py`` the project's; a name and its file stand in one module."""
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`([\w/*]+/[\w*]+\.(?:py|cu|md))`", text):
        assert list((BOOK.parent / "tinyvit").glob(name)) or list(BOOK.parent.glob(name)), name
    for name, file in re.findall(r"\{py:\w+\}`~tinyvit\.([\w.]+)` in `([\w/]+)\.py`", text):
        assert name.startswith(file.replace("/", ".") + "."), f"{name} is not in {file}.py"


def test_the_glossary_names_chapters_that_use_the_term():
    texts = {int(path.stem[:2]): re.sub(r"[\s*]+", " ", markdown_of(path)).casefold() for path in NOTEBOOKS}
    entries = re.findall(r"^(\S.*)\n((?:  .+\n)+)", (BOOK / "glossary.md").read_text(encoding="utf-8"), re.M)
    assert len(entries) > 100
    for term, words in entries:
        stem = term.split()[-1].casefold()[:5]  # fine-tuning: fine-tunes will do
        for numbers in re.findall(r"\((\d(?:, \d)*)\)", words):
            for number in map(int, numbers.split(", ")):
                assert stem in texts[number], f"{term} is not in chapter {number}"


def test_the_api_reference_holds_every_public_module(site):
    pages = "".join(page.read_text() for page in (site / "api").glob("*.html"))
    described = set(re.findall(r'id="module-([\w.]+)"', pages))
    assert {module.name for module in pkgutil.walk_packages(tinyvit.__path__, "tinyvit.")} <= described


@pytest.mark.parametrize("page", DERIVATIONS, ids=lambda path: path.stem)
def test_a_derivation_agrees_with_the_kernel_and_with_slopes(page):
    assert "same(" in code_of(page)
    namespace: dict = {}
    for source in BOOK / "derivations" / "index.md", page:
        exec(compile(code_of(source), str(source), "exec"), namespace)


def test_code_fits_the_page():
    for page in PAGES:
        wide = [line for line in code_of(page, r"\w+").splitlines() if len(line) > MOST_COLUMNS]
        assert not wide, page.name


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=lambda path: path.stem)
def test_no_bracket_is_taken_for_an_option(page):
    """TeX reads a bracket at the start of an environment or of a line as an option, and drops it: write {}[."""
    for formula in re.findall(r"\$\$(.+?)\$\$", markdown_of(page), re.S):
        assert not re.search(r"(\\begin\{\w+\*?\}|\\\\)\s*\[", formula), formula


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=lambda path: path.stem)
def test_no_formula_begins_a_list(page):
    """Markdown takes a line that begins with a minus for a list's item, in the middle of a formula, too."""
    text = re.sub(r"^```.*?^```|`[^`]*`|\$\$.*?\$\$", "", markdown_of(page), flags=re.M | re.S)
    for formula in re.findall(r"\$([^$]+)\$", text):
        assert not re.search(r"\n\s*([-+*>]|\d+\.)\s", formula), formula


@pytest.mark.parametrize(
    "page, entry",
    [("glossary.md", r"^(\S.*)\n  \S"), ("bibliography.md", r"^\(.+\)=\n(\w.+?),")],
    ids=["words", "works"],
)
def test_the_alphabet_is_kept(page, entry):
    found = re.findall(entry, (BOOK / page).read_text(encoding="utf-8"), re.M)
    assert len(found) > 20
    assert found == sorted(found, key=str.casefold)


def test_the_bibliography_has_what_the_chapters_cite():
    works = (BOOK / "bibliography.md").read_text(encoding="utf-8")
    chapters = "".join(path.read_text(encoding="utf-8") for path in NOTEBOOKS)
    cited = set(re.findall(r"arxiv\.org/abs/([\d.]+\d)", chapters))
    assert len(cited) > 20
    assert {number for number in cited if f"arXiv:{number}" not in works} == set()


def test_the_epub_has_its_mathematics_as_mathml(tmp_path):
    with zipfile.ZipFile(build("epub", tmp_path)) as book:
        assert book.testzip() is None
        contents = book.read("content.opf").decode()
        pages = {name: book.read(name).decode() for name in book.namelist() if name.endswith(".xhtml")}
    for notebook in NOTEBOOKS:
        assert f"chapters/{notebook.stem}.xhtml" in pages
    listed = set(re.findall(r'href="([^"#]+)"', pages["nav.xhtml"]))
    assert set(pages) - {"nav.xhtml"} == listed, "the list of contents names each page"
    for name, text in pages.items():
        prose = re.sub(r"<(pre|code)\b.*?</\1>", "", text, flags=re.S)
        assert not re.search(r"\\[a-zA-Z(\[]|\$\$", prose), f"raw TeX in {name}"
        assert ("<math " in text) == bool(re.search(rf'href="{name}"[^>]* properties="mathml"', contents)), name
        assert "<script" not in text
    assert pages["derivations/softmax.xhtml"].count("<math ") > 10
    assert "mathvariant=" not in re.sub(r'mathvariant="normal"', "", "".join(pages.values())), "few devices know it"


def test_what_the_book_changes_in_a_notebook():
    from chapters import relink, title_drawn_by

    names = {"01_a.ipynb"}
    assert relink("[one](01_a.ipynb#x) [two](02_b.ipynb)", names) == "[one](01_a.ipynb#x) two"
    assert relink("[p](https://a.org/x) ![i](x.png)", names) == "[p](https://a.org/x) ![i](x.png)"
    assert relink("[notation](../book/notation.md)", names) == "[notation](../notation.md)"
    assert relink("[`vit.py`](../tinyvit/models/vit.py)", names) == "{py:mod}`vit.py <tinyvit.models.vit>`"
    assert relink("`tinyvit/nn/mlp.py`, `tinyvit/nn/`", names) == (
        "{py:mod}`tinyvit/nn/mlp.py <tinyvit.nn.mlp>`, {py:mod}`tinyvit/nn/ <tinyvit.nn>`"
    )
    assert (
        relink("`tinyvit/kernels/gpu/layer_norm.cu`, `mlp.py`", names)
        == "`tinyvit/kernels/gpu/layer_norm.cu`, `mlp.py`"
    )
    assert relink("`book/derivations`", names) == "[`book/derivations`](../derivations/index.md)"
    assert title_drawn_by('axis.set_title("Less wrong\\nwith time")') == "Less wrong with time"
    assert title_drawn_by("axis.set_title(name)") == ""


def test_a_docstring_is_text():
    from docstrings import escape, escape_all

    assert escape("a * b, |x|, dx_ and **it**") == r"a \* b, \|x\|, dx\_ and \*\*it\*\*"
    assert escape("``a * b`` and :func:`x_`") == "``a * b`` and :func:`x_`"
    assert escape("x -> y; --device, not ``--all``") == "x → y; ``--device``, not ``--all``"
    assert escape("channels: C.") == r"channels: \C."
    code = [">>> f(a * b)", "... + c_", "", "c_ * d"]
    assert escape_all(code) == [">>> f(a * b)", "... + c_", "", r"c\_ \* d"]


def test_a_page_of_the_reference_reads_as_the_docstring(site):
    def words(page: str) -> str:
        text = re.sub(r"<[^>]+>", "", (site / "api" / f"{page}.html").read_text(encoding="utf-8"))
        return re.sub(r"\s+", " ", html.unescape(text))

    config = words("tinyvit.models")
    assert "image_size, patch_size – in pixels" in config, "names that share a line share it"
    assert "N: the sequence length" in config, "what stands before a colon is no type"
    assert "stem_depths: tuple = (3, 4, 9), stem_convention" in config, "a tuple is one default"
    top = (site / "api" / "tinyvit.html").read_text(encoding="utf-8")
    for name in "autograd.tensor.Tensor", "autograd.gradcheck.gradcheck", "models.published.load.load_pretrained":
        assert re.search(rf'href="[^"]*#tinyvit\.{name}"', top), f"{name} has no link"
    for page in (site / "api").glob("*.html"):
        assert "site-packages" not in page.read_text(encoding="utf-8"), f"{page.name} names a folder of this machine"


def test_a_formula_and_its_full_stop_stay_together():
    from mathematics import unbroken

    formula = '<span class="math notranslate nohighlight">\\(x\\)</span>'
    assert unbroken(f"<p>of ({formula}), and") == f'<p>of <span class="unbroken">({formula}),</span> and'
    assert unbroken(f"<p>{formula} and") == f"<p>{formula} and"
    assert unbroken("<li><math><mi>x</mi></math>.</li>").startswith('<li><span class="unbroken"><math>')
    block = '<div class="math"><math display="block"><mi>x</mi></math></div>'
    assert unbroken(f"{block}.") == f"{block}."
