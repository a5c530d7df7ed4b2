import io
import math

import pandas as pd
import pytest

from analysis.report import csv, latex, markdown
from analysis.runs import SweepRecord, SweepRow
from analysis.tables import DASH, SOURCE_ROW, summarise, table

PAPER = {"Table 1: CUT": {"horse2zebra": 45.5}}


def record(task: str = "stripes", runs: list[dict[str, object]] | None = None) -> SweepRecord:
    """Two rows: 'a_b|c' with two finished seeds and a failed one, 'lone' with one seed and a missing one."""
    done = {"status": "FINISHED", "error": "", "source/fd_small_conv": 80.0}
    runs = runs or [
        {"row": "a_b|c", "seed": 0, **done, "last/fd_small_conv": 10.0, "best/fd_small_conv": 9.0},
        {"row": "a_b|c", "seed": 1, **done, "last/fd_small_conv": 14.0, "best/fd_small_conv": 9.0},
        {"row": "a_b|c", "seed": 2, "status": "FAILED", "error": "RuntimeError: no_room & <none>"},
        {"row": "lone", "seed": 0, **done, "last/fd_small_conv": 20.0},
        {"row": "lone", "seed": 1, "status": "MISSING", "error": ""},
    ]
    rows = (SweepRow("a_b|c", "Table 1: CUT", {0: "k0", 1: "k1", 2: "k2"}), SweepRow("lone", "", {0: "k3", 1: "k4"}))
    return SweepRecord("mine", "Is it 100% right?", task, (), rows, pd.DataFrame(runs).set_index(["row", "seed"]))


def test_statistics_are_over_the_finished_seeds() -> None:
    found = {(statistic.row, statistic.metric): statistic for statistic in summarise(record())}
    both = found["a_b|c", "last/fd_small_conv"]
    assert (both.mean, both.n) == (12, 2)
    assert both.std == pytest.approx(math.sqrt(8))
    lone = found["lone", "last/fd_small_conv"]
    assert (lone.mean, lone.n) == (20, 1)
    assert math.isnan(lone.std)


def test_table_keeps_the_sweeps_rows_behind_the_source() -> None:
    cells, _ = table(record(), PAPER)
    assert list(cells.index) == [SOURCE_ROW, "a_b|c", "lone"]
    assert cells.loc[SOURCE_ROW, "FD (small-conv), last ↓"] == "80.00"
    assert cells.loc["a_b|c", "FD (small-conv), last ↓"] == "12.00 ± 2.83 (n = 2)"
    assert cells.loc["lone", "FD (small-conv), last ↓"] == "20.00 (n = 1)"
    assert cells.loc["lone", "FD (small-conv), best ↓"] == DASH


def test_columns_without_a_value_are_left_out() -> None:
    cells, _ = table(record(), PAPER)
    assert not any(title.startswith("FID,") for title in cells.columns)


def test_missing_seeds_are_explained() -> None:
    _, notes = table(record(), PAPER)
    assert notes == ["a_b|c, seed 2 failed: RuntimeError: no_room & <none>", "lone, seed 1 has no run"]


def test_papers_value_says_when_it_is_of_another_data_set() -> None:
    elsewhere, _ = table(record("stripes"), PAPER)
    assert list(elsewhere.columns)[-1] == "paper, FID on horse2zebra (another data set)"
    assert list(elsewhere.iloc[:, -1]) == [DASH, "45.5", DASH]
    same, _ = table(record("horse2zebra"), PAPER)
    assert list(same.columns)[-1] == "paper, FID"


def test_names_with_special_characters_survive_markdown_and_latex() -> None:
    found = record()
    cells, notes = table(found, PAPER)
    lines = markdown(found, cells, notes).splitlines()
    header = next(line for line in lines if line.startswith("| row"))
    row = next(line for line in lines if line.startswith("| a\\_b\\|c"))
    assert row.replace("\\|", "").count("|") == header.count("|")
    text = latex(found, cells, notes)
    assert r"a\_b|c &" in text
    assert r"100\%" in text
    assert r"no\_room \& $<$none$>$" in text
    assert r"\toprule" in text


def test_same_record_gives_the_same_bytes() -> None:
    one, two = (markdown(found, *table(found, PAPER)) for found in (record(), record()))
    assert one == two


def test_a_sweep_without_any_finished_trial_has_a_table_of_dashes_and_reasons() -> None:
    failed = [{"row": row, "seed": 0, "status": "FAILED", "error": "no"} for row in ("a_b|c", "lone")]
    found = record(runs=failed)
    cells, notes = table(found, {})
    assert list(cells.index) == ["a_b|c", "lone"]
    assert len(notes) == 2
    assert "a\\_b\\|c" in markdown(found, cells, notes)
    assert latex(found, cells, notes)


def test_csv_has_a_line_a_row_with_the_papers_values() -> None:
    read = pd.read_csv(io.StringIO(csv(record(), PAPER))).set_index("row")
    assert list(read.index) == [SOURCE_ROW, "a_b|c", "lone"]
    assert read.loc["a_b|c", "last/fd_small_conv_mean"] == 12
    assert read.loc["a_b|c", "last/fd_small_conv_n"] == 2
    assert read.loc["a_b|c", "paper/horse2zebra/fid"] == 45.5
    assert math.isnan(read.loc["lone", "paper/horse2zebra/fid"])


def timed(row: str, seed: int, packed: str, seconds: float) -> dict[str, object]:
    done = {"status": "FINISHED", "error": "", "stopped": "", "timed": packed}
    return {"row": row, "seed": seed, **done, "last/fd_small_conv": 10.0, "cost/seconds_per_step": seconds}


def test_packed_and_unpacked_seconds_are_not_compared() -> None:
    shared = "up to 2 side by side"
    found = record(
        runs=[
            timed("a_b|c", 0, shared, 0.05),
            timed("a_b|c", 1, "alone", 0.03),
            timed("lone", 0, "alone", 0.03),
            timed("lone", 1, shared, 0.07),
            timed("a_b|c", 2, shared, 0.07),
        ]
    )
    cells, notes = table(found, PAPER)
    assert list(cells["seconds per step ↓"]) == ["0.060 ± 0.014 (n = 2)", "0.070 (n = 1)"]
    assert list(cells["FD (small-conv), last ↓"]) == ["10.00 ± 0.00 (n = 3)", "10.00 ± 0.00 (n = 2)"]
    assert notes == [
        "seconds per step are those of trials that ran up to 2 side by side; 2 that ran otherwise are left out"
    ]


def test_stopped_trials_never_enter() -> None:
    stopped = {"status": "KILLED", "error": "", "stopped": "by the search after epoch 2", "timed": "alone"}
    found = record(
        runs=[
            {"row": "a_b|c", "seed": 0, **stopped, "last/fd_small_conv": 1.0},
            timed("lone", 0, "alone", 0.03),
        ]
    )
    found.runs.loc[("a_b|c", 0), "last/fd_small_conv"] = math.nan  # as the reader leaves it
    cells, notes = table(found, PAPER)
    assert list(cells.index) == ["lone"]
    assert notes == ["a_b|c, seed 0 was stopped by the search after epoch 2"]
