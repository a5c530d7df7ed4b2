"""What a store filled by hand comes to, to the byte: tests/analysis/golden holds it as a reader looked it through."""

import shutil
from pathlib import Path

import pytest

from analysis.report.write import write_results

GOLDEN = Path(__file__).parents[1] / "golden"


def rebuild(store: str, results: Path) -> None:
    write_results(store, "hand_made", "stripes", results)


@pytest.fixture(scope="module")
def results(stores: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    rebuild(stores["now"], folder)
    return folder / "hand_made/stripes"


@pytest.mark.parametrize("name", sorted(file.name for file in GOLDEN.iterdir()))
def test_a_store_filled_by_hand_gives_the_golden_files(results: Path, name: str) -> None:
    assert (results / name).read_text(encoding="utf-8") == (GOLDEN / name).read_text(encoding="utf-8")


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
