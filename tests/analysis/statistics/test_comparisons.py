"""Paired tests and Holm's correction."""

import math

import numpy as np
import pytest
from sample_records import finished, make
from scipy import stats

from analysis.statistics.comparisons import (
    Comparison,
    compare,
    compare_rows,
    detectable_ratio,
    holm,
    least_spread,
    paired_p,
)
from analysis.statistics.estimates import Estimate, differences, values_of


def test_holms_values_are_those_of_rs_p_adjust() -> None:
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert holm({"a": 0.7, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def test_a_row_without_a_test_does_not_count() -> None:
    found = holm({"a": 0.04, "one seed": math.nan})
    assert found["a"] == 0.04 and math.isnan(found["one seed"])
    assert holm({}) == {}


def test_p_is_that_of_a_paired_t_test() -> None:
    ours, theirs = [40.0, 55.0, 47.0, 61.0], [38.5, 54.5, 44.0, 60.5]
    runs = [
        finished(row, seed, last__fid=fid) for row, of in (("a", theirs), ("b", ours)) for seed, fid in enumerate(of)
    ]
    found = compare_rows(make(runs), values_of(make(runs)), "last/fid")["b"]
    assert found.p == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)
    assert found.tests == 1


@pytest.mark.parametrize(("mean", "p"), [(0.0, 1.0), (2.0, 0.0), (-2.0, 0.0)])
def test_a_cost_that_differs_equally_in_all_seeds_is_certain(mean: float, p: float) -> None:
    assert paired_p(Estimate(mean, 0.0, 3, mean, mean), least_spread("cost/training_peak_live_gb")) == p


@pytest.mark.parametrize("mean", [1.04, 100.0])
def test_a_score_that_differs_equally_in_all_seeds_is_tested_with_the_least_spread(mean: float) -> None:
    found = paired_p(Estimate(mean, 0.0, 3, mean, mean), least_spread("last/objects_lost"))
    spread = [mean - 1, mean, mean + 1]
    assert found == pytest.approx(stats.ttest_1samp(spread, 0).pvalue)
    assert (found < 0.05) == (mean == 100)


def test_one_object_more_in_each_of_three_seeds_is_no_finding() -> None:
    runs = [
        finished(row, seed, last__fid=1.0, last__objects_lost=lost) for row, lost in (("a", 0.0), ("b", 1.04))
        for seed in range(3)
    ]  # fmt: skip
    assert not compare_rows(make(runs), values_of(make(runs)), "last/objects_lost")["b"].told_apart


def test_a_row_of_which_a_trial_has_collapsed_is_not_told_apart_by_its_survivors() -> None:
    def compared(collapsed: str) -> Comparison:
        runs = [
            finished(row, seed, last__fid=fid + seed + fid * seed / 100, last__epoch=6.0, collapsed="")
            for row, fid in (("a", 50.0), ("b", 5.0))
            for seed in range(4)
        ]
        runs[-1]["collapsed"] = collapsed
        return compare_rows(make(runs), values_of(make(runs)), "last/fid")["b"]

    assert compared("").told_apart and compared("3").told_apart
    assert (compared("6").told_apart, compared("6").collapsed, compared("6").difference.n) == (False, 1, 3)


@pytest.mark.parametrize("found", [Estimate(), Estimate(5.0, math.nan, 1)])
def test_fewer_than_two_pairs_tell_nothing_apart(found: Estimate) -> None:
    assert math.isnan(paired_p(found, 0.1))
    assert not compare({"a": found}, "last/fid")["a"].told_apart


def test_a_row_that_is_told_apart_has_an_interval_without_0() -> None:
    rng, told_apart = np.random.default_rng(0), 0
    for _ in range(50):
        scores = rng.normal(size=(5, 4)) + np.arange(5)[:, None]
        runs = [finished(f"{row}", seed, last__fid=fid) for row, of in enumerate(scores) for seed, fid in enumerate(of)]
        for found in compare_rows(make(runs), values_of(make(runs)), "last/fid").values():
            line = found.difference
            assert found.told_apart <= (line.low > 0 or line.high < 0)
            assert found.tests == 4 and found.p >= paired_p(line, 0.1)
            told_apart += found.told_apart
    assert 10 < told_apart < 200


def test_costs_compare_all_rows_and_scores_those_that_were_scored_alike() -> None:
    runs = [
        finished(row, seed, last__fid=1.0 + seed, cost__device_hours=1.0, extractor="other" if row == "c" else "")
        for row in "abc"
        for seed in (0, 1)
    ]
    record = make(runs)
    assert list(compare_rows(record, values_of(record), "last/fid")) == ["b"]
    assert list(compare_rows(record, values_of(record), "cost/device_hours")) == ["b", "c"]


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_the_smallest_difference_that_is_told_apart_is_the_one_stated(rows: int) -> None:
    shape, level = np.array([-1.0, 0.0, 1.0]), 0.05 / rows
    for factor, expected in ((1.01, True), (0.99, False)):
        by_row = {"0": np.zeros(3), "1": shape + factor * detectable_ratio(3, level)}
        by_row |= {f"{row}": np.array([-1.0, 0.0, 1.1]) for row in range(2, rows + 1)}
        runs = [
            finished(row, seed, last__fid=100 + 10 * fid) for row, of in by_row.items() for seed, fid in enumerate(of)
        ]
        record = make(runs)
        assert compare_rows(record, values_of(record), "last/fid")["1"].told_apart == expected
    assert differences(values_of(record), "last/fid", "0")["1"].std == pytest.approx(10)
