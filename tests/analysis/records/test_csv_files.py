import io
from pathlib import Path

import pandas as pd
import pytest
from sample_records import PAPER, finished, make, record

from analysis.records.csv_files import read_csv, to_csv
from analysis.records.schema import RecordsError, SweepRecord
from analysis.tables.formats import markdown
from analysis.tables.table import table

COURSE = pd.DataFrame([("a", 0, 256, 1.0, 0.1 + 0.2)], columns=["row", "seed", "step", "epoch", "value"])


def exported(found: SweepRecord, folder: Path) -> Path:
    for name, text in to_csv(found, COURSE).items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def sweep() -> SweepRecord:
    return make(
        [
            finished('a, "b"\n_|', 0, last__fid=0.1 + 0.2, best__fid=1 / 3, weights="00012345", timed="alone"),
            finished('a, "b"\n_|', 1, last__fid=7.0),
            finished("c", 0, last__fid=8.0, cost__device_hours=2.0, timed="beside others"),
            {"row": "c", "seed": 1, "status": "FAILED", "error": "no, 'none'"},
        ],
        settings={'a, "b"\n_|': {"model.temperature": 0.07, "model.places": "res5"}, "c": {"model.temperature": 1}},
        papers={"c": "Table 1: CUT"},
        default="c",
        overrides=("train.batch_size=2",),
        price_per_hour=2.5,
    )


@pytest.mark.parametrize("found", [record(), sweep()], ids=["sample", "with everything"])
def test_the_files_hold_all_that_the_table_is_made_of(found: SweepRecord, tmp_path: Path) -> None:
    read, course = read_csv(exported(found, tmp_path))
    assert markdown(read, table(read, PAPER)) == markdown(found, table(found, PAPER))
    assert course.equals(COURSE)


def test_written_again_they_are_the_same_bytes(tmp_path: Path) -> None:
    found = sweep()
    read, course = read_csv(exported(found, tmp_path))
    assert to_csv(read, course) == to_csv(found, COURSE)


def test_the_table_has_a_line_a_trial_and_metric_that_it_ended_with() -> None:
    values = pd.read_csv(io.StringIO(to_csv(sweep(), COURSE)["table.csv"]))
    assert list(values) == ["row", "seed", "metric", "value"]
    assert values.groupby(["row", "seed"]).size().to_dict() == {('a, "b"\n_|', 0): 2, ('a, "b"\n_|', 1): 1, ("c", 0): 2}


@pytest.mark.parametrize("names", [("1", "2"), ("0.10", "0.2"), ("None", "nan"), ("true", "1e3")])
def test_a_row_may_be_called_as_a_number_or_as_nothing(names: tuple[str, str], tmp_path: Path) -> None:
    found = make(
        [finished(row, 0, last__fid=9.0) for row in names], settings={row: {"model.word": row} for row in names}
    )
    read, _ = read_csv(exported(found, tmp_path))
    assert markdown(read, table(read, PAPER)) == markdown(found, table(found, PAPER))
    assert read.rows == found.rows


def test_a_trial_that_is_not_finished_has_its_reason() -> None:
    trials = pd.read_csv(io.StringIO(to_csv(sweep(), COURSE)["trials.csv"]), keep_default_na=False)
    assert trials.loc[trials["status"] == "FAILED", "error"].to_list() == ["no, 'none'"]


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    (exported(sweep(), tmp_path) / "course.csv").unlink()
    with pytest.raises(RecordsError, match=r"course\.csv: no such file"):
        read_csv(tmp_path)
