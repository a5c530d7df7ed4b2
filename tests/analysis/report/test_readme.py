import shutil
from pathlib import Path

import pytest

from analysis.records.schema import RecordsError
from analysis.report.readme import (
    BENCHMARKS,
    EXPORTS,
    OF_PHOTOGRAPHS,
    OF_PICTURES,
    OF_README,
    README,
    ROUNDING,
    benchmark_tables,
    generated_parts,
    pictures,
    with_generated,
)
from pipeline.__main__ import main

ROOT = Path(__file__).parents[3]
PARTS = generated_parts(ROOT)


@pytest.mark.parametrize("document", PARTS, ids=str)
def test_a_documents_tables_are_what_the_committed_files_give(document: Path) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert with_generated(text, PARTS[document], document) == text, f"{document} is old; just docs writes it anew"


def test_just_docs_writes_the_committed_documents_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (EXPORTS, OF_PHOTOGRAPHS, OF_PICTURES, ROUNDING, BENCHMARKS):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for document in PARTS:
        shutil.copy(ROOT / document, tmp_path / document)
    (tmp_path / OF_README / "dots.svg").unlink()
    monkeypatch.chdir(tmp_path)
    assert main(["docs"]) == 0
    written = (*PARTS, *(OF_README / name for name in ("dots.svg", "dots-dark.svg")))
    assert all((tmp_path / document).read_bytes() == (ROOT / document).read_bytes() for document in written)


def test_without_any_file_every_part_is_said_not_to_be_measured(tmp_path: Path) -> None:
    assert benchmark_tables(tmp_path / "none").count("Not measured yet.") == 8


def test_a_file_that_is_no_benchs_output_is_refused_by_its_name(tmp_path: Path) -> None:
    for text in ("{", "[]", "{}", '{"part": "nothing"}'):
        (tmp_path / "step.json").write_text(text, encoding="utf-8")
        with pytest.raises(RecordsError, match=r"step\.json: .* Measure again, or remove the file\."):
            benchmark_tables(tmp_path)


def test_readmes_pictures_are_what_the_committed_csv_gives() -> None:
    drawn = pictures(ROOT / OF_README)
    assert set(drawn) == {"dots.svg", "dots-dark.svg"}
    for name, content in drawn.items():
        assert (ROOT / OF_README / name).read_bytes() == content, f"{name} differs; just docs draws it anew"


def test_a_table_that_was_edited_by_hand_is_written_anew() -> None:
    text = (ROOT / README).read_text(encoding="utf-8")
    edited = text.replace("| internal ", "| better ")
    assert edited != text
    assert with_generated(edited, PARTS[README], README) == text


def test_a_document_without_a_place_for_a_table_is_refused_by_the_tables_name() -> None:
    with pytest.raises(RecordsError, match=r"nowhere.* The generated part goes between them"):
        with_generated((ROOT / README).read_text(encoding="utf-8"), {"nowhere": ""}, README)
