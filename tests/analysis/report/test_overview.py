import os
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis.report.overview import PAGE, write_overview

EXPORTS = Path(__file__).parents[3] / "docs/results/stripes"
SWEEPS = ("ablation_negatives", "temperature")


class Cells(HTMLParser):
    """The texts of the lines of a table's body, and the links."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.lines: list[list[str]] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.lines.append([])
        if tag in ("th", "td"):
            self.lines[-1].append("")
        if tag == "a":
            self.links.append(dict(attrs)["href"] or "")

    def handle_data(self, data: str) -> None:
        if self.lines and self.lines[-1]:
            self.lines[-1][-1] += data.strip("\n")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return a folder with the results of two sweeps."""
    for sweep in SWEEPS:
        shutil.copytree(EXPORTS / "ablation_negatives", tmp_path / sweep / "stripes")
        (tmp_path / sweep / "stripes" / PAGE).touch()
        os.utime(tmp_path / sweep / "stripes" / PAGE, (0, 1.8e9))
    return tmp_path


def overview(results: Path) -> Cells:
    write_overview(results)
    return Cells((results / PAGE).read_text(encoding="utf-8"))


def test_overview_has_a_line_for_each_sweep_and_links_to_its_report(results: Path) -> None:
    found = overview(results)
    question = "Do negatives from the same image beat negatives from other images?"
    best = "internal: FD (small-conv) 10.32 (3 seeds)"
    line = ["ablation_negatives on stripes", best, "9 of 9", question, "2027-01-15 08:00 UTC"]
    assert found.lines[1:] == [line, line]
    assert found.links == [f"{sweep}/stripes/{PAGE}" for sweep in SWEEPS]
    assert all((results / link).is_file() for link in found.links)


def test_overview_written_again_is_the_same_file_and_leaves_no_part(results: Path) -> None:
    write_overview(results)
    first = (results / PAGE).read_bytes()
    write_overview(results)
    assert (results / PAGE).read_bytes() == first
    assert sorted(path.name for path in results.iterdir()) == sorted((*SWEEPS, PAGE))


@pytest.mark.parametrize("damage", ["", "a,b\n1,2\n", "\0\xff", "sweep,task\n"])
def test_damaged_and_foreign_folders_are_passed_over(results: Path, damage: str) -> None:
    (results / SWEEPS[0] / "stripes/trials.csv").write_text(damage, encoding="latin-1")
    (results / "notes").mkdir()
    (results / "notes/today").write_text("nothing")
    (results / "photos/2026").mkdir(parents=True)
    (results / SWEEPS[1] / "unfinished").mkdir()
    assert overview(results).links == [f"{SWEEPS[1]}/stripes/{PAGE}"]


def test_a_page_that_is_no_overview_is_kept(results: Path) -> None:
    (results / PAGE).write_text("<!doctype html>\nmine")
    write_overview(results)
    assert (results / PAGE).read_text() == "<!doctype html>\nmine"
