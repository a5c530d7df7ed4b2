"""The sentences are right on made-up sweeps."""

import pytest
from sample_records import finished, make

from analysis.records.schema import SweepRecord
from analysis.tables.summary import findings


def sweep(memory: dict[str, float] | None = None, **of_rows: list[float]) -> SweepRecord:
    """Rows with a FID a seed, and a peak of memory that is every seed's."""
    costs = {row: {"cost__training_peak_live_gb": peak} for row, peak in (memory or {}).items()}
    return make(
        [
            finished(row, seed, last__fid=value, **costs.get(row, {}))
            for row, values in of_rows.items()
            for seed, value in enumerate(values)
        ]
    )


def test_a_clear_winner_is_said_to_be_lower_with_its_interval() -> None:
    (quality,) = findings(sweep(internal=[50.0, 60.0, 70.0], external=[40.0, 51.0, 60.0]))
    assert quality == (
        "Against “internal”, FID at the end of training is lower for “external” "
        "(−9.7, 95 % interval −11.1 to −8.2, 3 seeds)."
    )


def test_a_clear_loser_is_said_to_be_higher() -> None:
    (quality,) = findings(sweep(internal=[40.0, 51.0, 60.0], external=[50.0, 60.0, 70.0]))
    assert "is higher for “external” (+9.7, 95 % interval +8.2 to +11.1, 3 seeds)." in quality


def test_a_tie_is_said_to_show_no_difference() -> None:
    (quality,) = findings(sweep(internal=[50.0, 60.0, 70.0], external=[55.0, 52.0, 71.0]))
    assert "is not shown to differ for “external” (−0.7, 95 % interval −17.2 to +15.9, 3 seeds)." in quality
    assert "lower" not in quality
    assert "higher" not in quality


def test_equal_rows_are_not_shown_to_differ() -> None:
    (quality,) = findings(sweep(internal=[50.0, 60.0], external=[50.0, 60.0]))
    assert "is not shown to differ for “external” (+0.0, in every seed, 2 seeds)." in quality


@pytest.mark.parametrize("distance", [0.1, 1000.0])
def test_one_seed_says_nothing_however_far_apart(distance: float) -> None:
    (quality,) = findings(sweep(internal=[50.0], external=[50.0 + distance]))
    assert quality == (
        "Against “internal”, one seed gives no interval, so nothing can be said about FID at the end of training."
    )


def test_rows_of_every_kind_stand_in_one_sentence() -> None:
    (quality,) = findings(sweep(base=[50.0, 60.0], low=[40.0, 50.1], high=[61.0, 71.1], tie=[49.0, 62.0], one=[1.0]))
    lower, higher, tie, one = (
        quality.index(text) for text in ("lower for “low”", "higher for “high”", "“tie” (", "“one”, by")
    )
    assert lower < higher < tie < one


def test_many_rows_are_counted_behind_the_first_ones() -> None:
    (quality,) = findings(sweep(base=[1.0, 1.1], **{f"row{number}": [2.0, 2.1] for number in range(7)}))
    assert "row3" in quality
    assert "row4" not in quality
    assert "and 3 more." in quality


def test_cost_is_told_of_what_does_not_vary_without_an_interval() -> None:
    _, cost = findings(sweep({"internal": 1.0, "external": 1.5}, internal=[5.0, 6.0], external=[5.0, 6.0]))
    assert (
        cost == "As to cost, peak memory of training in GB is higher for “external” (+0.500, in every seed, 2 seeds)."
    )


def test_what_the_digits_do_not_show_is_no_difference() -> None:
    _, cost = findings(sweep({"internal": 1.0, "external": 1.000012}, internal=[5.0, 6.0], external=[5.0, 6.0]))
    assert "is not shown to differ for “external” (+0.000, in every seed, 2 seeds)." in cost


def test_a_row_without_a_seed_in_common_is_said_to_be_unknown() -> None:
    runs = [finished(row, seed, last__fid=1.0 + seed) for row in ("a", "b") for seed in range(2)]
    (quality,) = findings(make([*runs, {"row": "c", "seed": 0, "status": "FAILED", "error": "no"}]))
    assert quality.endswith("and is not known for “c”, by no seed on both sides.")


def test_a_row_that_was_scored_in_another_way_is_not_compared() -> None:
    runs = [
        finished(row, seed, last__fid=fid, extractor=row) for row, fid in (("a", 9.0), ("b", 1.0)) for seed in range(2)
    ]
    (quality,) = findings(make(runs))
    assert quality == "Against “a”, FID at the end of training is not compared for “b”, scored in another way."


def test_rows_are_compared_with_the_default_row_alone() -> None:
    runs = [finished(row, seed, last__fid=value + seed) for row, value in (("a", 9.0), ("b", 5.0)) for seed in range(2)]
    (quality,) = findings(make(runs, default="b"))
    assert quality.startswith("Against “b”, FID at the end of training is higher for “a” (+4.0")


def test_nothing_is_said_where_there_is_nothing() -> None:
    assert findings(make([{"row": "a", "seed": 0, "status": "FAILED", "error": "no"}])) == (
        "No trial is finished yet, so there is nothing to compare.",
    )
    assert findings(sweep(a=[1.0, 2.0])) == ("The sweep has one row, so there is nothing to compare it with.",)
    lost = make([{**finished("a", 0), "status": "FAILED"}, finished("b", 0, last__fid=1.0)])
    assert "since no seed is finished on both sides" in findings(lost)[0]
