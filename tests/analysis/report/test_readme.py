import shutil
from pathlib import Path

import pytest

from analysis.records.schema import RecordsError
from analysis.report.readme import (
    BEGIN,
    BENCHMARKS,
    EXPORT,
    PERFORMANCE,
    README,
    benchmark_tables,
    pictures,
    sweep_table,
    with_generated,
)
from pipeline.__main__ import main

ROOT = Path(__file__).parents[3]


def readme() -> str:
    return (ROOT / README).read_text(encoding="utf-8")


def test_readmes_table_is_what_the_committed_csv_gives() -> None:
    made = with_generated(readme(), sweep_table(ROOT / EXPORT), README)
    assert made == readme(), "README.md differs from its CSV files; just docs writes it anew"


def test_the_tables_of_performance_are_what_the_committed_json_gives() -> None:
    text = (ROOT / PERFORMANCE).read_text(encoding="utf-8")
    made = with_generated(text, benchmark_tables(ROOT / BENCHMARKS), PERFORMANCE)
    assert made == text, "docs/performance.md differs from its JSON files; just docs writes it anew"


def test_just_docs_writes_the_committed_documents_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = (README, PERFORMANCE, *(EXPORT / name for name in ("dots.svg", "dots-dark.svg")))
    for folder in (EXPORT, BENCHMARKS):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for document in (README, PERFORMANCE):
        shutil.copy(ROOT / document, tmp_path / document)
    (tmp_path / EXPORT / "dots.svg").unlink()
    monkeypatch.chdir(tmp_path)
    assert main(["docs"]) == 0
    assert all((tmp_path / document).read_bytes() == (ROOT / document).read_bytes() for document in documents)


def test_without_any_file_every_part_is_said_not_to_be_measured(tmp_path: Path) -> None:
    assert benchmark_tables(tmp_path / "none").count("Not measured yet.") == 6


def test_a_file_that_is_no_benchs_output_is_refused_by_its_name(tmp_path: Path) -> None:
    for text in ("{", "[]", "{}", '{"part": "nothing"}'):
        (tmp_path / "step.json").write_text(text, encoding="utf-8")
        with pytest.raises(RecordsError, match=r"step\.json: .* Measure again, or remove the file\."):
            benchmark_tables(tmp_path)


def test_readmes_pictures_are_what_the_committed_csv_gives() -> None:
    drawn = pictures(ROOT / EXPORT)
    assert set(drawn) == {"dots.svg", "dots-dark.svg"}
    for name, content in drawn.items():
        assert (ROOT / EXPORT / name).read_bytes() == content, f"{name} differs; just docs draws it anew"


def test_a_table_that_was_edited_by_hand_is_written_anew() -> None:
    edited = readme().replace("| internal ", "| better ")
    assert edited != readme()
    assert with_generated(edited, sweep_table(ROOT / EXPORT), README) == readme()


def test_a_document_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(RecordsError, match="The generated part goes between them"):
        with_generated(readme().replace(BEGIN, ""), "", README)
