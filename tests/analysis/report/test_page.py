import re
from base64 import b64decode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from sample_report import HARD, bare_report, hard_report, large_report, sample_report

from analysis.report.page import Report, page

# Attributes that make a browser fetch something.
LOADED = ("src", "srcset", "data", "poster", "background", "action", "formaction", "xlink:href")
VOID = ("meta", "link", "img", "source", "input", "br", "wbr", "hr")


class Read(HTMLParser):
    """A page's tags with their attributes, its text outside of style and script, and the text of each tag's kind."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.texts: dict[str, str] = {}
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        within = self.open[-1] if self.open else ""
        self.texts[within] = self.texts.get(within, "") + data
        if within not in ("style", "script"):
            self.text += data

    def attributes(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_same_report_gives_the_same_bytes() -> None:
    assert page(large_report()).encode() == page(large_report()).encode()


@pytest.mark.parametrize("report", [large_report(), hard_report(), bare_report()], ids=["large", "hard", "bare"])
def test_page_names_no_outside_address(report: Report) -> None:
    read = Read(page(report))
    loaded = [value for _, found in read.tags for name, value in found.items() if name in LOADED]
    assert all(address.startswith("data:") for address in loaded)
    links = {attributes["href"] for attributes in read.attributes("a")}
    files = {link for link in links if link.startswith("figures/")}
    assert len(files) == 3 * (len(report.figures) + (report.qualitative is not None))
    assert {link for link in links - files if not link.startswith("#")} == {x.url for x in report.trials if x.url}
    assert [attributes["href"] for attributes in read.attributes("link")] == ["data:,"]
    assert "url(" not in read.texts["style"] and "@import" not in read.texts["style"]


def test_policy_allows_the_pages_own_style_and_script_and_nothing_else() -> None:
    html = page(sample_report())
    (policy,) = (meta["content"] for meta in Read(html).attributes("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for kind in ("style", "script"):
        (inline,) = re.findall(f"<{kind}>(.*?)</{kind}>", html, re.DOTALL)
        (allowed,) = re.findall(f"{kind}-src '(sha256-[^']*)';", policy)
        assert b64decode(allowed.removeprefix("sha256-")) == sha256(inline.encode()).digest()
    assert "unsafe" not in policy
    # The policy refuses both, which a browser would report as an error.
    assert not any(name == "style" or name.startswith("on") for _, found in Read(html).tags for name in found)


def test_special_characters_show_literally() -> None:
    read = Read(page(hard_report()))
    shown = ("sweep", "task", "question", "paragraph", "caption", "note", "title", "caption", "name", "value", "row")
    for what in (*shown, "key", "purpose", "command"):
        assert f"{HARD} {what}" in read.text, what
    assert f"failed: {HARD}" in read.text
    # In the table, and above the images.
    assert read.text.count(f"{HARD}2") >= 2
    assert read.texts["title"] == f"{HARD} sweep on {HARD} task"
    alts = [image["alt"] for image in read.attributes("img")]
    assert f"{HARD} alt" in alts and f"image 1, translated by {HARD}" in alts
    assert HARD not in read.texts["script"]


def test_each_image_is_in_the_page_once() -> None:
    html = page(large_report())
    addresses = [image["src"] for image in Read(html).attributes("img") if image["src"].startswith("data:image/png")]
    assert len(addresses) == 8 * (1 + 8 + 1) + 1 + (8 * 3 - 1)
    assert all(html.count(address) == 1 for address in addresses)


def test_images_are_kept_to_the_bit() -> None:
    report = sample_report()
    assert report.qualitative is not None and report.progress is not None
    wanted = [
        image
        for at, source in enumerate(report.qualitative.inputs)
        for image in (
            source,
            *(images[at] for images in report.qualitative.outputs.values()),
            report.qualitative.neighbours[at],
        )
    ]
    over_training = [image for images in report.progress.outputs.values() for image in images if image is not None]
    wanted += [report.progress.source, *over_training]
    addresses = [image["src"] for image in Read(page(report)).attributes("img")]
    files = [b64decode(address.partition(",")[2]) for address in addresses if address.startswith("data:image/png")]
    for file, image in zip(files, wanted, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(file))), image)


def test_each_picture_says_what_it_is_and_how_large() -> None:
    images = Read(page(sample_report())).attributes("img")
    assert all(image["alt"] and int(image["width"]) > 0 and int(image["height"]) > 0 for image in images)


@pytest.mark.parametrize(("size", "pixels"), [((624, 276), ("624", "276")), ((432.0, 230.4), ("432", "230"))])
def test_figures_have_the_size_that_they_are_given(size: tuple[float, float], pixels: tuple[str, str]) -> None:
    report = sample_report()
    figure = replace(report.figures[0], width=size[0], height=size[1])
    read = Read(page(replace(report, figures=(figure,), qualitative=None, progress=None)))
    (dark,), (light,) = read.attributes("source"), read.attributes("img")
    assert (dark["width"], dark["height"]) == (light["width"], light["height"]) == pixels


@pytest.mark.parametrize("size", [64, 128])
def test_only_small_images_show_their_pixels(size: int) -> None:
    classes = [
        division.get("class", "").split()
        for division in Read(page(sample_report(images=1, size=size))).attributes("div")
    ]
    assert ["coarse" in found for found in classes if {"tiles", "viewer"} & {*found}] == [size < 128] * 3


def test_a_page_without_some_of_its_parts_is_still_whole() -> None:
    whole = sample_report()
    pairs = ("main", "settings", "differing", "times", "provenance")
    empty = [replace(whole, qualitative=None), replace(whole, progress=None)]
    empty += [replace(whole, **{part: ()}) for part in ("summary", "notes", "figures", "trials", *pairs)]
    empty += [replace(whole, **{part: ""}) for part in ("question", "moment", "how_made")]
    for report in (*empty, replace(whole, commands=()), bare_report()):
        read = Read(page(report))
        assert read.open == []
        ids = [found["id"] for _, found in read.tags if "id" in found]
        assert len(ids) == len(set(ids))
        aims = [link["href"][1:] for link in read.attributes("a") if link["href"].startswith("#")]
        named = [found[name] for _, found in read.tags for name in ("aria-labelledby", "for") if name in found]
        assert {*aims, *named} <= set(ids)


def test_many_trials_and_settings_are_folded_away_and_counted() -> None:
    assert "details" not in [tag for tag, _ in Read(page(sample_report())).tags]
    assert Read(page(large_report())).texts["summary"] == "18 settings" + "24 trials, 22 of them done"


def test_twelve_settings_are_shown_at_once_and_provenance_always_is() -> None:
    pairs = tuple((f"name {at}", f"value {at}") for at in range(13))
    report = replace(sample_report(), provenance=pairs)
    assert "summary" not in Read(page(replace(report, settings=pairs[:12]))).texts
    assert Read(page(replace(report, settings=pairs))).texts["summary"] == "13 settings"


@pytest.mark.parametrize(
    ("left_out", "said"),
    [(0, ""), (1, "1 of the sweep's rows is not shown."), (12, "12 of the sweep's rows are not shown.")],
)
def test_rows_that_are_not_among_the_images_are_counted(left_out: int, said: str) -> None:
    report = sample_report()
    assert report.qualitative is not None
    text = Read(page(replace(report, qualitative=replace(report.qualitative, left_out=left_out)))).text
    assert (f"in the metric's feature space. {said}" in text) if said else ("of the sweep's rows" not in text)


def test_a_trial_without_a_run_has_no_link() -> None:
    links = [link["href"] for link in Read(page(large_report())).attributes("a")]
    assert "" not in links and len([link for link in links if link.startswith("https://mlflow.example")]) == 23


def test_runs_open_beside_the_page_and_cannot_reach_it() -> None:
    links = [link for link in Read(page(large_report())).attributes("a") if link["href"].startswith("https:")]
    assert {(link["target"], link["rel"]) for link in links} == {("_blank", "noopener")}


def test_style_that_pandas_puts_before_the_table_is_left_out() -> None:
    assert sample_report().table.startswith("<style")
    assert page(sample_report()).count("<style") == 1
