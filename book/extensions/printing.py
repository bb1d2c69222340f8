"""Prints the book's one long page to PDF with Chromium, twice: the second time its contents know their pages."""

import shutil
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from pypdf import PdfReader

FOOTER = '<div style="width: 100%; text-align: center; font: 9px serif; color: #666" class="pageNumber"></div>'
NOTHING = "<span></span>"

SCRIPT = Path(__file__).with_name("printing.js")


def print_to_pdf(page: Path, target: Path) -> Path:
    """``page``, an HTML file, as ``target``, a PDF with contents, page numbers and bookmarks.

    Raises:
        SystemExit: there is no Chromium.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        opened = browser.new_page()
        opened.goto(page.as_uri())
        opened.add_script_tag(path=SCRIPT)
        opened.evaluate("prepare()")
        _print(opened, target, accessible=False)
        opened.evaluate("(pages) => numberContents(pages)", pages_of_anchors(target))
        _print(opened, target, accessible=True)
        browser.close()
    return target


def _print(opened: Page, target: Path, accessible: bool) -> None:
    """``accessible`` adds what screen readers need: twice the size, three times the time, the same pages."""
    opened.pdf(
        path=target,
        prefer_css_page_size=True,
        print_background=True,
        display_header_footer=True,
        header_template=NOTHING,
        footer_template=FOOTER,
        outline=True,
        tagged=accessible,
    )


def pages_of_anchors(pdf: Path) -> dict[str, int]:
    """The page, counted from 1, of each place in a PDF that a link leads to."""
    reader = PdfReader(pdf)
    numbers = {page.indirect_reference.idnum: number for number, page in enumerate(reader.pages, 1)}
    return {name.lstrip("/"): numbers[where.page.idnum] for name, where in reader.named_destinations.items()}
