import math

import numpy as np
import pandas as pd
import pytest
from sample_records import finished, make
from scipy import stats

from analysis.statistics.estimates import (
    Estimate,
    differences,
    differences_between,
    main_score,
    summary,
    values_of,
)


def fids(**of_rows: list[float]) -> pd.DataFrame:
    """Values of rows by seed; nan for a trial that is not finished."""
    runs = [
        {**finished(row, seed, last__fid=value), **({"status": "FAILED"} if math.isnan(value) else {})}
        for row, values in of_rows.items()
        for seed, value in enumerate(values)
    ]
    return values_of(make(runs))


def test_summary_is_mean_and_deviation_of_a_sample_with_students_interval() -> None:
    seeds = [41.0, 47.5, 44.0]
    found = summary(fids(a=seeds), "last/fid")["a"]
    low, high = stats.t.interval(0.95, 2, np.mean(seeds), stats.sem(seeds))
    assert (found.mean, found.std, found.n) == (pytest.approx(np.mean(seeds)), pytest.approx(np.std(seeds, ddof=1)), 3)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_one_seed_has_a_mean_and_no_interval() -> None:
    found = summary(fids(a=[41.0, math.nan]), "last/fid")["a"]
    assert (found.mean, found.n) == (41.0, 1)
    assert all(math.isnan(value) for value in (found.std, found.low, found.high))


def test_no_seed_has_nothing() -> None:
    found = summary(fids(a=[1.0], b=[math.nan]), "last/fid")
    assert found["b"].n == found["never heard of"].n == 0
    assert math.isnan(found["b"].mean)


def test_difference_of_equal_rows_is_zero_with_an_interval_of_nothing() -> None:
    values = [3.1, 2.7, 8.9]
    assert differences(fids(a=values, b=values), "last/fid", "a")["b"] == Estimate(0.0, 0.0, 3, 0.0, 0.0)


def test_difference_is_that_of_a_paired_t_test() -> None:
    ours, theirs = [40.0, 55.0, 47.0, 61.0], [38.5, 54.5, 44.0, 60.5]
    found = differences(fids(a=theirs, b=ours), "last/fid", "a")["b"]
    interval = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_what_all_seeds_share_leaves_the_difference_as_it_is() -> None:
    rows, of_seeds = {"a": [1.0, 5.0, 9.0], "b": [2.0, 6.5, 9.5]}, [100.0, -7.0, 3.0]
    one = fids(**rows)
    other = fids(
        **{row: [value + shift for value, shift in zip(values, of_seeds, strict=True)] for row, values in rows.items()}
    )
    found, moved = (differences(values, "last/fid", "a")["b"] for values in (one, other))
    assert moved.mean == pytest.approx(found.mean)
    assert moved.high == pytest.approx(found.high)


def test_only_seeds_of_both_rows_are_paired() -> None:
    found = differences(fids(a=[1.0, 2.0, math.nan], b=[2.0, math.nan, 9.0]), "last/fid", "a")["b"]
    assert (found.mean, found.n) == (1.0, 1)
    assert math.isnan(found.low)


def test_two_records_are_paired_row_by_row_and_seed_by_seed() -> None:
    found = differences_between(fids(a=[1.0, 2.0], b=[5.0]), fids(c=[0.0], a=[1.5, 3.5]), "last/fid")
    assert (found["a"].mean, found["a"].n) == (1.0, 2)
    assert found["b"].n == found["c"].n == 0


def test_inceptions_distance_is_the_score_where_there_is_one() -> None:
    runs = [finished("a", 0, last__fd_small_conv=1.0), finished("a", 1, last__fid=1.0)]
    assert main_score(values_of(make(runs))) == "fid"
    assert main_score(values_of(make(runs[:1]))) == "fd_small_conv"
    assert main_score(values_of(make([finished("a", 0)]))) is None
