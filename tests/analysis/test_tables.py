import io
import math
from dataclasses import astuple

import pandas as pd
import pytest
from sample_records import PAPER, finished, record

from analysis.report import csv, latex, markdown
from analysis.tables import DASH, SOURCE_ROW, TIMES, summarise, table


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
    return finished(row, seed, timed=packed, last__fd_small_conv=10.0, cost__seconds_per_iteration=seconds)


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
    assert list(cells["seconds per iteration ↓"]) == ["0.060 ± 0.014 (n = 2)", "0.070 (n = 1)"]
    assert list(cells["FD (small-conv), last ↓"]) == ["10.00 ± 0.00 (n = 3)", "10.00 ± 0.00 (n = 2)"]
    assert notes == [
        "times, energy and cost are those of trials that ran up to 2 side by side; 2 that ran otherwise are left out"
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


def test_all_that_depends_on_who_else_used_the_device_is_of_trials_that_ran_alike() -> None:
    values = dict.fromkeys(TIMES, 1.0)
    found = record(
        runs=[
            finished("a_b|c", 0, **values, cost__training_peak_live_gb=1.0),
            finished(
                "a_b|c", 1, **dict.fromkeys(TIMES, 9.0), cost__training_peak_live_gb=3.0, timed="up to 2 side by side"
            ),
            finished("lone", 0, **values),
        ]
    )
    means = {metric: (mean, n) for row, metric, mean, _, n in map(astuple, summarise(found)) if row == "a_b|c"}
    assert means == {**dict.fromkeys(TIMES, (1.0, 1)), "cost/training_peak_live_gb": (2.0, 2)}


def test_epoch_of_the_best_stands_behind_the_best_score() -> None:
    scores = {"last__fid": 60.0, "best__fid": 50.0, "last__kid": 0.01}
    runs = [finished("a_b|c", seed, **scores, best__epoch=epoch) for seed, epoch in ((0, 10.0), (1, 15.0))]
    cells, _ = table(record(runs=[*runs, finished("lone", 0, **scores)]), {})
    assert list(cells) == ["FID, last ↓", "FID, best ↓", "epoch of the best", "KID, last ↓"]
    assert list(cells["epoch of the best"]) == ["12 ± 4 (n = 2)", DASH]


def test_every_recorded_score_is_a_column_also_where_the_source_lacks_it() -> None:
    scores = {"precision": 0.7, "recall": 0.4, "lpips": 0.25, "fd_dinov2": 812.3, "mAP": 20.1, "pixAcc": 61.0}
    last = {f"last__{name}": value for name, value in scores.items()}
    runs = [finished(row, 0, **last, last__classAcc=25.0, source__lpips=0.0) for row in ("a_b|c", "lone")]
    cells, _ = table(record(runs=runs), {})
    assert cells.loc["lone"].to_dict() == {
        "precision, last ↑": "0.700 (n = 1)",
        "recall, last ↑": "0.400 (n = 1)",
        "LPIPS to the input, last ↓": "0.250 (n = 1)",
        "FD (DINOv2), last ↓": "812.3 (n = 1)",
        "mAP, last ↑": "20.1 (n = 1)",
        "pixAcc, last ↑": "61.0 (n = 1)",
        "classAcc, last ↑": "25.0 (n = 1)",
    }
    source = cells.loc[SOURCE_ROW]
    assert source["LPIPS to the input, last ↓"] == "0.000"
    assert set(source.drop("LPIPS to the input, last ↓")) == {DASH}


def test_memory_of_training_is_in_the_table_and_all_that_was_recorded_in_the_csv() -> None:
    costs = {
        "cost__training_peak_live_gb": 1.5,
        "cost__training_peak_allocated_gb": 2.0,
        "cost__training_peak_reserved_gb": 2.5,
    }
    rest = {"cost__evaluation_peak_live_gb": 4.0, "cost__training_process_peak_gb": 5.0, "last__kid_std": 0.002}
    rest |= {"cost__data_seconds_per_iteration": 0.01, "source__kid_std": 0.001, "best__step": 7.0}
    runs = [finished(row, 0, last__kid=0.01, **costs, **rest, train__nce=3.0) for row in ("a_b|c", "lone")]
    found = record(runs=runs)
    cells, _ = table(found, {})
    assert list(cells) == [
        "KID, last ↓",
        "live tensors in training, peak GB ↓",
        "CUDA allocated in training, peak GB ↓",
        "CUDA reserved in training, peak GB ↓",
    ]
    assert cells.loc["lone", "CUDA reserved in training, peak GB ↓"] == "2.50 (n = 1)"
    read = pd.read_csv(io.StringIO(csv(found, {}))).set_index("row")
    assert [name.removesuffix("_mean") for name in read.columns if name.endswith("_mean")] == [
        *(
            "last/kid",
            "cost/training_peak_live_gb",
            "cost/training_peak_allocated_gb",
            "cost/training_peak_reserved_gb",
        ),
        *(
            "best/step",
            "cost/data_seconds_per_iteration",
            "cost/evaluation_peak_live_gb",
            "cost/training_process_peak_gb",
        ),
        *("last/kid_std", "source/kid_std"),
    ]
    assert read.loc["lone", "cost/evaluation_peak_live_gb_mean"] == 4
    assert read.loc[SOURCE_ROW, "last/kid_std_mean"] == 0.001


def test_cost_of_a_trial_is_its_hours_at_the_price_and_left_out_without_one() -> None:
    runs = [finished("a_b|c", 0, last__fid=50.0, cost__device_hours=2.0)]
    runs += [finished("a_b|c", 1, last__fid=50.0, cost__device_hours=4.0), finished("lone", 0, cost__device_hours=1.0)]
    cells, _ = table(record(runs=runs, price_per_hour=2.5), {})
    assert list(cells["cost a trial, at 2.5 an hour ↓"]) == ["7.50 ± 3.54 (n = 2)", "2.50 (n = 1)"]
    unpriced, _ = table(record(runs=runs), {})
    assert list(unpriced) == ["FID, last ↓"]


def test_arrows_survive_latex() -> None:
    runs = [finished(row, 0, last__recall=0.5, last__fid=50.0) for row in ("a_b|c", "lone")]
    found = record(runs=runs)
    text = latex(found, *table(found, PAPER))
    assert r"FID, last $\downarrow$" in text
    assert r"recall, last $\uparrow$" in text
    assert not {"↓", "↑"} & set(text)
