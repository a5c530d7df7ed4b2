"""The report's page in a real browser: narrow and wide, light and dark, on screen and in print."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from page_visit import CHROMIUM, REPORTS, Scheme, visit, wait_until

pytest.importorskip("playwright.sync_api", reason="no playwright; it is among the dev dependencies")
from playwright.sync_api import expect

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH; Debian's package has it"),
]


AXE = Path(__file__).parents[3] / ".cache/axe-core/node_modules/axe-core/axe.min.js"


# Elements that reach beyond the window and cannot be scrolled to, and cells whose text runs into the next one.
CUT = """() => [...document.querySelectorAll("body *")].filter(each => {
    const box = each.getBoundingClientRect();
    if (!box.width || each.closest(".unseen")) return false;
    const scrolled = each.closest(".scroll");
    const runs_over = each.matches("th, td") && each.scrollWidth > each.clientWidth + 1;
    return runs_over || (box.right > innerWidth + 0.5 && (!scrolled || each === scrolled));
}).map(each => each.outerHTML.slice(0, 200))"""
# Regions that are scrolled to their end: where the first column's cells stand in them, and whether a bar is shown.
SCROLLED = """() => [...document.querySelectorAll(".scroll")].filter(
    each => each.scrollWidth > each.clientWidth
).map(each => {
    each.scrollLeft = each.scrollWidth;
    const [left, ...cells] = [each, ...each.querySelectorAll("tr > :first-child")].map(
        one => one.getBoundingClientRect().left);
    const shifts = cells.map(cell => cell - left);
    const style = getComputedStyle(each);
    return [each.scrollLeft > 0, Math.max(...shifts.map(Math.abs)) < 1, style.overflowX, style.scrollbarWidth];
})"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", [*REPORTS, "overview"])
def test_page_is_quiet_and_alone_and_nothing_of_it_is_cut(
    browser: Any, files: dict[str, str], name: str, width: int, scheme: Scheme
) -> None:
    visited = visit(browser, files[name], width, scheme)
    page = visited.page
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    wide, window = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide <= window
    assert page.evaluate(CUT) == []
    score = page.locator("tbody tr:last-child td").first.bounding_box()
    assert score["x"] + score["width"] <= width
    scrolled = page.evaluate(SCROLLED)
    assert scrolled == [[True, True, "auto", "thin"]] * len(scrolled)
    assert scrolled or name != "large"
    assert page.evaluate("[...document.images].filter(image => !image.naturalWidth).length") == 0
    assert [address for address in visited.requests if not address.startswith("data:")] == [files[name]]
    assert visited.errors == []
    page.context.close()


def test_figures_follow_the_scheme_and_print_as_on_paper(browser: Any, files: dict[str, str]) -> None:
    light = "[...document.querySelectorAll('picture img')].map(image => image.currentSrc === image.src)"
    visited = visit(browser, files["sample"], scheme="dark")
    assert visited.page.evaluate(light) == [False] * 3
    visited.page.emulate_media(media="print")
    wait_until(visited.page, f"{light}.every(Boolean)")
    assert visited.page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    visited.page.context.close()


@pytest.mark.parametrize(("width", "smallest"), [(1280, 9), (390, 0)])
def test_figures_are_never_enlarged_and_shrink_only_to_fit_a_phone(
    browser: Any, files: dict[str, str], width: int, smallest: int
) -> None:
    visited = visit(browser, files["sample"], width)
    for image in visited.page.locator("#figures img").all():
        box = image.bounding_box()
        # 8 pt, which is what figures have.
        assert smallest <= box["width"] / int(image.get_attribute("width")) * 8 * 96 / 72 <= 8 * 96 / 72
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
    visited.page.context.close()


def test_narrow_figures_stand_beside_each_other_and_wide_ones_alone(browser: Any, files: dict[str, str]) -> None:
    visited = visit(browser, files["sample"])
    boxes = [figure.bounding_box() for figure in visited.page.locator("figure").all()]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] + boxes[0]["width"] < boxes[1]["x"]
    assert boxes[2]["x"] == boxes[0]["x"] and boxes[2]["width"] == boxes[1]["x"] + boxes[1]["width"] - boxes[0]["x"]
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


def test_a_command_is_copied(browser: Any, files: dict[str, str]) -> None:
    visited = visit(browser, files["sample"], permissions=["clipboard-read", "clipboard-write"])
    visited.page.get_by_role("button", name="Copy").nth(1).click()
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
@pytest.mark.parametrize(
    ("name", "width"), [("sample", 1280), ("large", 390), ("hard", 1280), ("bare", 390), ("overview", 390)]
)
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
    if name not in ("bare", "overview"):
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
