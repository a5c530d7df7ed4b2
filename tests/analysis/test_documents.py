from pathlib import Path

import pytest

from analysis.documents import BEGIN, EXPORT, README, pictures, with_table
from analysis.records import RecordsError

ROOT = Path(__file__).parents[2]


def test_readmes_table_is_what_the_committed_csv_gives() -> None:
    text = (ROOT / README).read_text(encoding="utf-8")
    assert with_table(text, ROOT / EXPORT) == text, "README.md differs from its CSV files; just docs writes it anew"


def test_readmes_pictures_are_what_the_committed_csv_gives() -> None:
    drawn = pictures(ROOT / EXPORT)
    assert set(drawn) == {"dots.svg", "dots-dark.svg"}
    for name, content in drawn.items():
        assert (ROOT / EXPORT / name).read_bytes() == content, f"{name} differs; just docs draws it anew"


def test_a_table_that_was_edited_by_hand_is_written_anew() -> None:
    text = (ROOT / README).read_text(encoding="utf-8")
    assert with_table(text.replace("| internal ", "| better "), ROOT / EXPORT) == text


def test_a_readme_without_a_place_for_the_table_is_refused() -> None:
    text = (ROOT / README).read_text(encoding="utf-8")
    with pytest.raises(RecordsError, match="the table goes between them"):
        with_table(text.replace(BEGIN, ""), ROOT / EXPORT)
