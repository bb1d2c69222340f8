"""The book as a reader sees it: in Chromium, without a network, on a phone and on a desk."""

import shutil
from pathlib import Path

import pytest
from book_site import BOOK, build

playwright = pytest.importorskip("playwright.sync_api", reason="the book needs the extra `book`")

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
CHAPTERS = sorted(path.stem for path in (BOOK.parent / "notebooks").glob("[0-9]*.ipynb"))


@pytest.fixture(scope="module")
def browser():
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    if binary is None:
        pytest.skip("no Chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=binary, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


def pages_of(site: Path) -> list[Path]:
    """All of the site's pages, but of those of source code only one."""
    pages = [page for page in site.rglob("*.html") if page.relative_to(site).parts[0] not in ("_static", "_modules")]
    return sorted([*pages, site / "_modules" / "tinyvit" / "nn" / "encoder.html"])


def settled(page) -> None:
    """Wait until MathJax is done."""
    page.evaluate("async () => { if (window.MathJax) await MathJax.startup.promise; }")


TOO_WIDE = "document.documentElement.scrollWidth - window.innerWidth"
CUT_OFF = """() => [...document.querySelectorAll('p mjx-container:not([display="true"]) > svg')]
  .filter((one) => !one.closest("table, details") && one.getBoundingClientRect().right > window.innerWidth)
  .map((one) => one.closest("p").textContent.slice(0, 80))"""
RAW_TEX = r"""() => {
  const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent;
    const apart = walker.currentNode.parentElement.closest("pre, code, script, style, mjx-container");
    if (!apart && /\\[a-zA-Z(\[]|\$\$/.test(text)) found.push(text);
  }
  return found;
}"""


def test_every_page_loads_by_itself_and_fits_the_window(site, browser):
    context = browser.new_context(viewport=DESK)
    page = context.new_page()
    trouble: list[str] = []
    page.on("console", lambda message: message.type == "error" and trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("requestfailed", lambda request: trouble.append(f"failed: {request.url}"))

    def guard(route):
        if route.request.url.startswith((site.as_uri(), "data:", "blob:")):
            route.continue_()
        else:
            trouble.append(f"outside: {route.request.url}")
            route.abort()

    page.route("**/*", guard)
    with_mathematics = 0
    for path in pages_of(site):
        page.set_viewport_size(DESK)
        page.goto(path.as_uri())
        settled(page)
        name = path.relative_to(site)
        for size in DESK, PHONE:
            page.set_viewport_size(size)
            assert page.evaluate(TOO_WIDE) <= 0, f"{name} is wider than {size['width']} px"
        assert page.evaluate(CUT_OFF) == [], f"{name}: formulas in a line, cut off on a phone"
        assert page.evaluate(RAW_TEX) == [], f"raw TeX in {name}"
        formulas = page.locator(".math").count()
        assert page.locator("mjx-container").count() >= formulas, f"{name}: formulas not typeset"
        assert page.locator("mjx-merror, [data-mjx-error]").count() == 0, f"{name}: formulas not understood"
        with_mathematics += formulas > 0
        assert not trouble, f"{name}: {trouble}"
    assert with_mathematics > 10
    context.close()


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_solution_unfolds(site, browser, chapter):
    page = browser.new_page(viewport=PHONE)
    page.goto((site / "chapters" / f"{chapter}.html").as_uri())
    fold = page.locator("details", has_text="Show the solution").first
    assert not fold.locator("pre").first.is_visible()
    fold.locator("summary").click()
    assert fold.locator("pre").first.is_visible()
    page.close()


def test_the_search_finds_a_term(site, browser):
    page = browser.new_page(viewport=DESK)
    page.goto((site / "search.html").as_uri() + "?q=logsumexp")
    page.wait_for_selector("#search-results li a")
    assert "derivations/attention" in "".join(
        link.get_attribute("href") for link in page.locator("#search-results li a").all()
    )
    page.close()


def test_figures_stand_on_white_paper_at_night(site, browser):
    page = browser.new_page(viewport=DESK, color_scheme="dark")
    page.goto((site / "chapters" / f"{CHAPTERS[0]}.html").as_uri())
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    background = "getComputedStyle(document.querySelector('.cell_output img')).backgroundColor"
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    page.close()


def test_the_pdf_has_contents_with_the_right_pages(browser, tmp_path):
    pypdf = pytest.importorskip("pypdf", reason="the book needs the extra `book`")
    pages = [page.extract_text() for page in pypdf.PdfReader(build("pdf", tmp_path)).pages]
    contents = pages[1]
    assert contents.startswith("Contents")
    for title in "Preface", "Notation", "Softmax", "Attention", "Bibliography":
        [line] = [line for line in contents.splitlines() if line.startswith(title)]
        assert pages[int(line.split()[-1]) - 1].lstrip().startswith(title)
