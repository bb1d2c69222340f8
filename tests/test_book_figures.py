"""The book's figures to play with, in a real browser: they draw what tinyvit computed, and answer clicks and keys."""

import json
import shutil
from pathlib import Path

import pytest

from tinyvit.models import ViTConfig, cost

playwright = pytest.importorskip("playwright.sync_api", reason="the book needs the extra `book`")

FIGURES = Path(__file__).parent.parent / "book" / "figures"
NAMES = ["patch-grid", "attention-explorer", "learning-rate", "roofline"]
MOST_SCRIPT = 5_000  # bytes

figures = pytest.mark.parametrize("name", NAMES)


def data(name: str) -> dict:
    return json.loads((FIGURES / f"{name.replace('-', '_')}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium")
    with playwright.sync_playwright() as driver:
        yield driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )


@pytest.fixture
def page(browser, name, tmp_path, request):
    """The figure alone on a page; no error may come from it, and no request go out."""
    width = getattr(request, "param", 1280)
    file = name.replace("-", "_")
    (tmp_path / "page.html").write_text(
        f'<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="{FIGURES}/interactive.css">'
        f'<figure class="interactive" data-figure="{name}"><div class="stage"></div>'
        f'<script type="application/json">{json.dumps(data(name))}</script></figure>'
        f'<script src="{FIGURES}/interactive.js"></script><script src="{FIGURES}/{file}.js"></script>'
    )
    page = browser.new_page(viewport={"width": width, "height": 900})
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else wrong.append(asked.url))
    page.goto(f"file://{tmp_path}/page.html")
    page.wait_for_selector('figure[data-ready="yes"]')
    yield page
    assert wrong == []
    page.close()


def words(page) -> str:
    return page.locator("output").inner_text()


@figures
@pytest.mark.parametrize("page", [390, 1280], indirect=True, ids=["phone", "desktop"])
def test_it_draws_within_the_page(page, name):
    page.wait_for_function("document.querySelector('output').innerText.length > 20")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@figures
def test_each_slider_answers_the_keyboard(page, name):
    sliders = page.locator('input[type="range"]')
    assert sliders.count() >= 1
    for i in range(sliders.count()):
        before = words(page)
        sliders.nth(i).focus()
        sliders.nth(i).press("ArrowRight")
        assert words(page) != before


@pytest.mark.parametrize("name", ["patch-grid", "attention-explorer"])
def test_a_patch_is_chosen_by_click_and_arrow(page, name):
    picture = page.locator("canvas").first
    before = words(page)
    picture.click(position={"x": 5, "y": 5})
    clicked = words(page)
    assert clicked != before
    picture.press("ArrowDown")
    assert words(page) not in (before, clicked)


@pytest.mark.parametrize("name", ["patch-grid", "attention-explorer"])
def test_arrows_stop_at_the_edges(page, name):
    picture = page.locator("canvas").first
    picture.click(position={"x": 5, "y": 5})
    corner = words(page)
    for key in "ArrowLeft", "ArrowUp":
        picture.press(key)
        assert words(page) == corner
    for _ in range(20):
        picture.press("ArrowRight")
    end_of_row = words(page)
    picture.press("ArrowLeft")
    assert words(page) != end_of_row
    for key in "ArrowRight", "ArrowRight", "ArrowUp":
        picture.press(key)
    assert words(page) == end_of_row != corner


@pytest.mark.parametrize("name", ["attention-explorer", "learning-rate", "roofline"])
def test_buttons_answer_a_click(page, name):
    before = words(page)
    page.locator("button").last.click()
    assert words(page) != before
    assert page.locator('button[aria-pressed="true"]').last.inner_text() == page.locator("button").last.inner_text()


@pytest.mark.parametrize("name", ["roofline"])
def test_a_kernel_is_chosen_by_click(page, name):
    before = words(page)
    page.locator("circle").last.click()
    assert words(page) != before and data(name)["kernels"][-1]["name"] in words(page)


@figures
def test_scripts_are_small_and_a_still_picture_is_there(name):
    file = name.replace("-", "_")
    assert (FIGURES / f"{file}.js").stat().st_size < MOST_SCRIPT
    assert (FIGURES / f"{file}.png").stat().st_size > 1000


def test_the_numbers_of_patches_are_those_of_the_code():
    for one in data("patch-grid")["sizes"]:
        config = ViTConfig.named("tiny", image_size=224, patch_size=one["patch"])
        assert one["patches"] == config.tokens - 1 and one["looks"] == one["patches"] ** 2
        assert (one["parameters"], one["multiply_adds"]) == (cost(config).parameters, cost(config).multiply_adds)
