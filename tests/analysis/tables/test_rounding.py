"""The table of one sweep, computed in several ways, with hand-made numbers."""

from dataclasses import replace

from sample_records import make

from analysis.records.schema import SweepRecord
from analysis.tables.rounding import MOVED, rounding_table


def record(one: list[float], other: list[float]) -> SweepRecord:
    runs: list[dict[str, object]] = [
        {
            "row": row, "seed": seed, "status": "FINISHED", "error": "",
            "last/fd_small_conv": value, "last/object_iou": value / 100, "last/size_kept": value / 100,
        }
        for row, values in {"one": one, "other": other}.items()
        for seed, value in enumerate(values)
    ]  # fmt: skip
    return make(runs)


def test_a_row_that_not_every_way_has_in_full_does_not_seem_to_stand_still() -> None:
    cells = rounding_table({"here": record([10, 12], [20]), "there": record([11, 15], [19, 20])})
    assert cells.loc["FD (small-conv), last ↓", "other"].tolist()[-1] == "–"


def test_a_score_that_one_way_lacks_has_no_lines() -> None:
    lacking = record([10, 12], [20, 21])
    lacking = replace(lacking, runs=lacking.runs.drop(columns="last/size_kept"))
    scores = set(rounding_table({"here": record([10, 12], [20, 21]), "there": lacking}).index)
    assert scores == {"FD (small-conv), last ↓", "overlap (IoU), last ↑"}


def test_each_way_has_the_rows_means_and_differences_and_the_last_line_how_far_a_mean_moves() -> None:
    cells = rounding_table({"here": record([10, 12], [20, 22.02]), "there": record([11, 15], [19, 20])})
    assert list(cells.columns) == ["computed", "one", "other", "other − one"]
    distance = cells.loc["FD (small-conv), last ↓"]
    assert list(distance["computed"]) == ["here", "there", MOVED]
    assert list(distance["one"]) == ["11.00 ± 1.41", "13.00 ± 2.83", "2.00"]
    assert list(distance["other"]) == ["21.01 ± 1.43", "19.50 ± 0.71", "1.51"]
    # Student's t with one degree of freedom: 12.706 · 0.01 and 12.706 · 1.5.
    assert list(distance["other − one"]) == ["+10.01 (+9.88 to +10.14) *", "+6.50 (−12.56 to +25.56)", ""]
    assert list(cells.loc["overlap (IoU), last ↑", "one"]) == ["0.110 ± 0.014", "0.130 ± 0.028", "0.020"]
