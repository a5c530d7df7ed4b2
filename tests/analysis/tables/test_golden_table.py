"""The results of a store filled by hand, to the byte. tests/analysis/golden holds them, as checked by a reader.

It is the only place that holds whole sentences.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.figures.draw import draw
from analysis.records.csv_files import FILES, read_csv
from analysis.report.write import write_results
from analysis.statistics.paper_values import load_paper
from analysis.tables.compare import Side, comparison
from analysis.tables.summary import summary_sentences

GOLDEN = Path(__file__).parents[1] / "golden"


def rebuild(store: str, results: Path) -> None:
    write_results(store, "hand_made", "stripes", results)


@pytest.fixture(scope="module")
def results(stores: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    rebuild(stores["now"], folder)
    return folder / "hand_made/stripes"


def golden(name: str) -> str:
    return (GOLDEN / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*FILES, "table.md", "table.tex"])
def test_a_store_filled_by_hand_gives_the_golden_files(results: Path, name: str) -> None:
    assert (results / name).read_text(encoding="utf-8") == golden(name)


def test_the_golden_record_gives_the_golden_summary_and_captions() -> None:
    record, course = read_csv(GOLDEN)
    figures = [f"{drawing.title}: {drawing.caption}\n{drawing.alt}" for drawing in draw(record, course, {}, None)]
    assert "\n\n".join([*summary_sentences(record, course, load_paper()), *figures]) + "\n" == golden("texts.txt")


def test_the_golden_record_gives_the_golden_comparison() -> None:
    record, _ = read_csv(GOLDEN)
    slower = record.runs.assign(**{"cost/seconds_per_iteration": 0.08, "commit": "ba9876543210"})
    other = replace(record, runs=slower, overrides=("data.size=32",), store="another store")
    assert comparison(Side("hand_made", record), Side("hand_made@2", other)) == golden("comparison.txt")


def test_results_that_were_deleted_are_rebuilt_byte_for_byte(stores: dict[str, str], results: Path) -> None:
    def content() -> dict[str, bytes]:
        return {str(file.relative_to(results)): file.read_bytes() for file in results.rglob("*") if file.is_file()}

    first = content()
    assert {"index.html", "figures/course.svg", "figures/dots.png", "figures/qualitative.png"} <= set(first)
    shutil.rmtree(results)
    # A figure of an earlier state, which is not drawn any more.
    (results / "figures").mkdir(parents=True)
    (results / "figures/curve_temperature.svg").write_text("<svg/>")
    rebuild(stores["now"], results.parent.parent)
    assert content() == first
