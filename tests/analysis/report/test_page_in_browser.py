"""The report's page in a real browser: narrow and wide, light and dark, by mouse and by keyboard."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest
from sample_report import HARD, bare_report, hard_report, large_report, sample_report

from analysis.report.page import page as page_of

playwright_api = pytest.importorskip("playwright.sync_api", reason="no playwright; it is among the dev dependencies")
expect = playwright_api.expect

CHROMIUM = shutil.which("chromium")
AXE = Path(__file__).parents[3] / ".cache/axe-core/node_modules/axe-core/axe.min.js"
REPORTS = {"sample": sample_report, "large": large_report, "hard": hard_report, "bare": bare_report}
Scheme = Literal["light", "dark"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH; Debian's package has it"),
]


def wait_until(page: Any, condition: str) -> None:
    """Ask again and again from outside: Playwright's own waiting asks from within, which the page's policy forbids."""
    ends = time.monotonic() + 5
    while not page.evaluate(condition):
        assert time.monotonic() < ends, f"never so: {condition}"
        page.wait_for_timeout(20)


@dataclass
class Visit:
    """An open page, and what a browser said and asked for on the way."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=quiet)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("pages")
    for name, make in REPORTS.items():
        (folder / f"{name}.html").write_text(page_of(make()), encoding="utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in REPORTS}


def visit(browser: Any, address: str, width: int = 1400, scheme: Scheme = "light", **options: Any) -> Visit:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
    visited = Visit(context.new_page())
    visited.page.on("console", lambda message: visited.errors.append(message.text))
    visited.page.on("pageerror", lambda error: visited.errors.append(str(error)))
    visited.page.on("request", lambda request: visited.requests.append(request.url))
    visited.page.goto(address)
    return visited


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("name", REPORTS)
def test_page_is_quiet_alone_whole_and_no_wider_than_the_window(
    browser: Any, files: dict[str, str], name: str, width: int, scheme: Scheme
) -> None:
    visited = visit(browser, files[name], width, scheme)
    visited.page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    wide, window = visited.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide <= window
    assert visited.page.evaluate("[...document.images].filter(image => !image.naturalWidth).length") == 0
    assert [address for address in visited.requests if not address.startswith("data:")] == [files[name]]
    assert visited.errors == []
    visited.page.context.close()


def test_figures_follow_the_scheme_and_print_as_on_paper(browser: Any, files: dict[str, str]) -> None:
    shown = "[...document.querySelectorAll('picture img')].map(image => image.currentSrc === image.src)"
    visited = visit(browser, files["sample"], scheme="dark")
    assert visited.page.evaluate(shown) == [False] * 3
    visited.page.emulate_media(media="print")
    # The page's policy forbids what Playwright waits with.
    deadline = time.monotonic() + 30
    while not all(visited.page.evaluate(shown)) and time.monotonic() < deadline:
        visited.page.wait_for_timeout(50)
    assert visited.page.evaluate(shown) == [True] * 3
    assert visited.page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    visited.page.context.close()


@pytest.mark.parametrize("width", [1400, 400])
def test_figures_are_never_enlarged_and_their_text_never_shown_smaller_than_9_pixels(
    browser: Any, files: dict[str, str], width: int
) -> None:
    visited = visit(browser, files["sample"], width)
    for image in visited.page.locator("#figures img").all():
        shown = image.bounding_box()["width"] / int(image.get_attribute("width"))
        # 8 pt, which is what figures have.
        assert 9 <= shown * 8 * 96 / 72 <= 8 * 96 / 72
    visited.page.context.close()


def test_narrow_figures_stand_beside_each_other_and_wide_ones_alone(browser: Any, files: dict[str, str]) -> None:
    visited = visit(browser, files["sample"])
    boxes = [figure.bounding_box() for figure in visited.page.locator("figure").all()]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] + boxes[0]["width"] < boxes[1]["x"]
    assert boxes[2]["x"] == boxes[0]["x"] and boxes[2]["width"] == boxes[1]["x"] + boxes[1]["width"] - boxes[0]["x"]
    visited.page.context.close()


def test_a_wide_figure_scrolls_by_keyboard_in_a_narrow_window(browser: Any, files: dict[str, str]) -> None:
    visited = visit(browser, files["sample"], 400)
    region = visited.page.get_by_role("group", name="Score against cost")
    region.focus()
    visited.page.keyboard.press("ArrowRight")
    wait_until(visited.page, "document.activeElement.scrollLeft > 0")
    visited.page.context.close()


def test_print_has_equal_tiles_and_figures_below_one_another(browser: Any, files: dict[str, str]) -> None:
    visited = visit(browser, files["sample"])
    visited.page.emulate_media(media="print")
    tiles = [
        image.bounding_box() for image in visited.page.locator("#translations tbody tr").first.locator("img").all()
    ]
    assert len(tiles) == 5 and max(tile["width"] for tile in tiles) - min(tile["width"] for tile in tiles) < 1
    assert len({round(tile["y"]) for tile in tiles}) == 1
    assert tiles[-1]["x"] + tiles[-1]["width"] <= 1400 < 5 * (tiles[0]["width"] + 12)
    figures = [figure.bounding_box() for figure in visited.page.locator("figure").all()]
    assert all(after["y"] >= before["y"] + before["height"] for before, after in pairwise(figures))
    assert [image.bounding_box()["width"] for image in visited.page.locator("#figures img").all()] == [432, 432, 624]
    visited.page.context.close()


def test_a_table_takes_the_room_that_the_window_has(browser: Any, files: dict[str, str]) -> None:
    def results(name: str) -> tuple[float, float]:
        visited = visit(browser, files[name])
        region = visited.page.locator("#results .scroll").bounding_box()
        table, title = (visited.page.locator(f"#results {each}").bounding_box() for each in ("table", "h2"))
        visited.page.context.close()
        assert region["x"] >= 0 and region["x"] + region["width"] <= 1400
        return table["x"] - title["x"], region["width"]

    assert results("sample")[0] == 0
    shift, width = results("large")
    assert shift < 0 and width > 1250


def test_first_column_stays_while_a_table_scrolls(browser: Any, files: dict[str, str]) -> None:
    visited = visit(browser, files["large"], 400)
    for region in ("#results .scroll", "#translations .scroll"):
        cell = visited.page.locator(f"{region} tbody th").first
        before = cell.bounding_box()
        visited.page.locator(region).evaluate("region => { region.scrollLeft = 200; }")
        assert visited.page.locator(region).evaluate("region => region.scrollLeft") == 200
        assert cell.bounding_box() == before
    visited.page.context.close()


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
    whole = """() => {
        const { left, right, top } = document.activeElement.getBoundingClientRect();
        const within = (x) => document.activeElement.contains(document.elementFromPoint(x, top + 1));
        return within(left + 1) && within(right - 1);
    }"""
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


def test_a_command_is_copied(browser: Any, files: dict[str, str]) -> None:
    visited = visit(browser, files["sample"], permissions=["clipboard-read", "clipboard-write"])
    visited.page.get_by_role("button", name="Copy").first.click()
    expect(visited.page.get_by_role("button", name="Copied")).to_be_visible()
    expect(visited.page.get_by_role("status")).to_have_text("Copied")
    copied = visited.page.evaluate("navigator.clipboard.readText()")
    assert copied == "just sweep ablation_negatives data=stripes"
    visited.page.context.close()


def test_page_reads_without_scripts(browser: Any, files: dict[str, str]) -> None:
    visited = visit(browser, files["large"], java_script_enabled=False)
    assert visited.page.locator("button:visible").count() == 0
    assert visited.page.locator("#translations img:visible").count() == 80
    visited.page.locator("#trials summary").click()
    expect(visited.page.locator("#trials td").first).to_be_visible()
    visited.page.context.close()


def test_places_in_the_page_are_found_where_it_is_shown_as_a_blob(browser: Any, files: dict[str, str]) -> None:
    visited = visit(browser, files["large"])
    page = visited.page
    with page.expect_navigation(url="blob:**"):
        page.evaluate("""() => {
            const whole = '<!doctype html>' + document.documentElement.outerHTML;
            location = URL.createObjectURL(new Blob([whole], {type: 'text/html'}));
        }""")
    before = page.url
    page.get_by_role("link", name="Trials").click()
    wait_until(page, "scrollY > 0")
    assert page.url == before
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("name", "width"), [("sample", 1400), ("large", 400), ("hard", 1400), ("bare", 400)])
def test_axe_finds_nothing_serious(browser: Any, files: dict[str, str], name: str, width: int, scheme: Scheme) -> None:
    if not AXE.exists():
        pytest.skip(f"{AXE} is missing: npm install --prefix .cache/axe-core axe-core@4.14.1")
    page = visit(browser, files[name], width, scheme).page
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    # axe gives no verdict on text before a gradient, such as the shadow at a region's edge.
    page.evaluate("document.querySelectorAll('.scroll').forEach(each => { each.style.background = 'none'; })")
    # The page's policy would refuse a script element; what is evaluated from outside it lets through.
    page.evaluate(AXE.read_text(encoding="utf-8"))
    assert _serious(page) == []
    if name != "bare":
        page.locator("#translations button").first.click()
        assert _serious(page) == []
    page.context.close()


def _serious(page: Any) -> list[str]:
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{rule['impact']}: {rule['id']}: {node['html'][:200]}"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]
