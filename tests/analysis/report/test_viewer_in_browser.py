"""The viewer of translations in a real browser, by mouse and by keyboard."""

from typing import Any

import pytest
from page_visit import CHROMIUM, visit, wait_until
from sample_report import HARD

pytest.importorskip("playwright.sync_api", reason="no playwright; it is among the dev dependencies")
from playwright.sync_api import expect

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH; Debian's package has it"),
]


@pytest.mark.parametrize("width", [1400, 400])
def test_a_translation_opens_enlarged_beside_its_source(browser: Any, files: dict[str, str], width: int) -> None:
    visited = visit(browser, files["sample"], width)
    page = visited.page
    page.get_by_role("button", name="image 2, translated by internal", exact=True).click()
    expect(page.get_by_role("heading", name="internal, image 2")).to_be_visible()
    images = page.locator("dialog .stage img")
    alts = ["image 2, translated by internal", "image 2, source"]
    assert [image.get_attribute("alt") for image in images.all()] == alts
    box, stage = page.locator("dialog").bounding_box(), page.locator(".stage").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= width and box["y"] + box["height"] <= 900
    assert abs(stage["width"] - stage["height"]) < 1 and stage["width"] > 300
    for button, title in (
        ("Next column", "external, image 2"),
        ("Next image", "external, image 3"),
        ("Previous image", "external, image 2"),
        ("Previous column", "internal, image 2"),
        ("Previous column", "nearest in B, image 2"),
        ("Previous column", "internal and external, image 2"),
    ):
        page.get_by_role("button", name=button).click()
        expect(page.locator("dialog h2")).to_have_text(title)
    page.get_by_role("button", name="Close").click()
    expect(page.locator("dialog")).to_be_hidden()
    assert visited.errors == []
    page.context.close()


def test_viewer_works_by_keyboard_and_gives_the_focus_back(browser: Any, files: dict[str, str]) -> None:
    visited = visit(browser, files["sample"])
    page = visited.page
    tile = page.get_by_role("button", name="image 1, translated by external", exact=True)
    tile.focus()
    page.keyboard.press("Enter")
    expect(page.locator("dialog h2")).to_have_text("external, image 1")
    page.keyboard.press("ArrowRight")
    expect(page.locator("dialog h2")).to_have_text("internal and external, image 1")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("dialog h2")).to_have_text("internal, image 1")
    page.keyboard.press("ArrowDown")
    expect(page.locator("dialog h2")).to_have_text("internal, image 2")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(page.locator("dialog h2")).to_have_text("internal, image 4")

    slider = page.get_by_role("slider", name="Left of the line: source. Right of it: translation.")
    clip = "getComputedStyle(document.querySelector('.stage .over')).clipPath"
    before = page.evaluate(clip)
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert slider.input_value() == "51" and slider.get_attribute("aria-valuetext") == "51% source"
    assert page.evaluate(clip) != before
    expect(page.locator("dialog h2")).to_have_text("internal, image 4")
    page.keyboard.press("Home")
    assert "100%" in page.evaluate(clip)

    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()
    expect(page.get_by_role("button", name="image 4, translated by internal", exact=True)).to_be_focused()
    assert visited.errors == []
    page.context.close()


def test_sources_and_neighbours_open_as_well(browser: Any, files: dict[str, str]) -> None:
    visited = visit(browser, files["sample"])
    page = visited.page
    for tile, title, right in (
        ("image 3, source", "internal, image 3", "translation"),
        ("image 3, its nearest in B", "nearest in B, image 3", "nearest in B"),
    ):
        page.get_by_role("button", name=tile).click()
        expect(page.locator("dialog h2")).to_have_text(title)
        expect(page.locator("dialog label")).to_have_text(f"Left of the line: source. Right of it: {right}.")
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name=tile)).to_be_focused()
    assert visited.errors == []
    page.context.close()


@pytest.mark.parametrize("name", ["sample", "large"])
def test_the_first_column_covers_no_tile_that_has_the_focus(browser: Any, files: dict[str, str], name: str) -> None:
    visited = visit(browser, files[name], 400)
    page = visited.page
    tiles = page.locator("#translations tbody tr").first.locator("button")
    whole = """(() => {
        const { left, right, top } = document.activeElement.getBoundingClientRect();
        const within = (x) => document.activeElement.contains(document.elementFromPoint(x, top + 1));
        return within(left + 1) && within(right - 1);
    })()"""
    tiles.last.focus()
    for at in reversed(range(tiles.count())):
        expect(tiles.nth(at)).to_be_focused()
        # A browser scrolls some time after it has moved the focus.
        wait_until(page, whole)
        page.keyboard.press("Shift+Tab")
    page.context.close()


def test_the_line_can_be_dragged_and_only_a_press_on_the_backdrop_closes(browser: Any, files: dict[str, str]) -> None:
    visited = visit(browser, files["sample"])
    page = visited.page
    page.locator("#translations button").first.click()
    stage = page.locator(".stage").bounding_box()
    page.mouse.move(stage["x"] + stage["width"] / 4, stage["y"] + 50)
    page.mouse.down()
    assert page.locator("#divider").input_value() == "25"
    page.mouse.move(5, 5)
    page.mouse.up()
    assert page.locator("#divider").input_value() == "0"
    expect(page.locator("dialog")).to_be_visible()
    page.mouse.click(5, 5)
    expect(page.locator("dialog")).to_be_hidden()
    page.context.close()


def test_special_characters_show_literally_in_the_viewer(browser: Any, files: dict[str, str]) -> None:
    visited = visit(browser, files["hard"])
    visited.page.locator("#translations button").first.click()
    expect(visited.page.locator("dialog h2")).to_have_text(f"{HARD}, image 1")
    assert visited.errors == []
    visited.page.context.close()
