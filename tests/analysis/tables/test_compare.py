import re
from dataclasses import replace

import pytest
from sample_records import finished, make

from analysis.records.schema import RecordsError, SweepRecord
from analysis.tables.compare import Side, comparison


def side(name: str, of_rows: dict[str, list[float]], keys: str = "", **made_with: str) -> Side:
    """Rows with a FID a seed. keys: how the trials' keys begin; the same is the same trials."""
    runs = [
        {
            **finished(row, seed, last__fid=fid, **{"data_fingerprint": "d", **made_with}),
            "key": f"{keys or name}{row}{seed}",
        }
        for row, values in of_rows.items()
        for seed, fid in enumerate(values)
    ]
    return Side(name, make(runs, store=keys or name))


ONE = {"internal": [50.0, 60.0, 70.0], "external": [45.0, 59.0, 72.0]}


def cells(text: str, row: str) -> list[str]:
    """The cells of a row of the only table."""
    (line,) = (line for line in text.splitlines() if line.startswith(f"{row}  "))
    return [cell.strip() for cell in re.split("  +", line.strip())][1:]


def test_both_sides_are_shown_with_their_paired_difference() -> None:
    text = comparison(side("v1", ONE), side("v2", {"internal": [51.0, 61.5, 71.0], "external": [40.0, 70.0, 71.0]}))
    assert cells(text, "internal") == ["60.0 ± 10.0 (n = 3)", "61.2 ± 10.0 (n = 3)", "+1.2 (+0.4 to +1.9), n = 3"]
    assert "Worse than A in FID at the end of training: “internal” +1.2" in text
    assert "No clear winner against A in FID at the end of training: “external”" in text


def test_the_same_trials_are_named() -> None:
    one, other = side("one", ONE, keys="k"), side("other", {"external": ONE["external"]}, keys="k")
    other.record.runs["run_id"] = ["run3", "run4", "run5"]
    text = comparison(one, other)
    assert "The same trials in A and B: “external”." in text
    assert "Equal in every seed: FID, last." in text


def test_nothing_that_differs_is_said_in_one_line() -> None:
    one, other = side("one", ONE, keys="k"), side("other", ONE, keys="k")
    elsewhere = Side("other", replace(other.record, store="another store"))
    for same in (other, elsewhere):
        assert comparison(one, same) == "Nothing differs between one and other: same rows, settings and scores.\n"


def test_equal_trials_of_two_stores_are_compared_and_not_called_the_same() -> None:
    text = comparison(side("one", ONE), side("other", ONE, commit="later"))
    assert "No difference to A in FID at the end of training, equal in every seed: “internal”" in text
    assert "same trials" not in text


def test_trials_in_common_are_the_same_also_where_one_side_has_more_seeds() -> None:
    more = side("other", {**ONE, "internal": [*ONE["internal"], 1.0]}, keys="k")
    more.record.runs["run_id"] = ["run0", "run1", "run2", "more", "run3", "run4", "run5"]
    text = comparison(side("one", ONE, keys="k"), more)
    assert "The same trials in A and B: “internal”, “external”." in text


def test_the_order_in_which_a_tag_occurs_does_not_matter() -> None:
    def mixed(name: str, *extractors: str) -> Side:
        return Side(
            name, make([finished("a", seed, last__fid=1.0, extractor=found) for seed, found in enumerate(extractors)])
        )

    assert "not subtracted" not in comparison(mixed("one", "x", "y"), mixed("other", "y", "x"))


@pytest.mark.parametrize("unfinished", [0, 1])
def test_a_side_without_a_finished_trial_has_no_verdict(unfinished: int) -> None:
    sides = [side("one", ONE), side("other", ONE)]
    none = make([{"row": "internal", "seed": 0, "status": "FAILED", "error": "no"}])
    sides[unfinished] = Side("none", none)
    assert "No seed is finished on both sides." in comparison(*sides)


def test_only_settings_that_differ_are_listed() -> None:
    base = ("model=cut", "train.batch_size=1")
    one, other = (
        Side(name, replace(side(name, ONE).record, base=base, overrides=overrides))
        for name, overrides in (("one", ("train.batch_size=2", "metric.also=[lpips]")), ("other", ()))
    )
    lines = comparison(one, other).splitlines()
    assert lines[2] == "Differs: train.batch_size 2 → 1, metric.also [lpips] → –"


def test_settings_of_one_row_are_compared_without_those_of_all() -> None:
    one = side("one", ONE)
    rows = [replace(row, settings={"model.number": number, "a": 1}) for number, row in enumerate(one.record.rows)]
    changed = [replace(rows[0], settings={**rows[0].settings, "a": 2}), replace(rows[1], settings={"a": 2})]
    first, then = (Side(name, replace(one.record, rows=tuple(of))) for name, of in (("one", rows), ("other", changed)))
    lines = comparison(first, then).splitlines()
    assert lines[2:4] == ["Differs: a 1 → 2", "Differs in “external”: model.number 1 → –"]


def test_rows_of_only_one_side_are_named() -> None:
    text = comparison(side("one", ONE), side("other", {"internal": [50.0, 60.0], "new": [1.0, 2.0]}))
    assert {"Only in A: “external”.", "Only in B: “new”."} < set(text.splitlines())
    assert not any(line.startswith(("external", "new")) for line in text.splitlines())


@pytest.mark.parametrize("made_with", [{"data_fingerprint": "e"}, {"extractor": "other"}, {"images_a": "5"}])
def test_scores_measured_differently_are_not_subtracted(made_with: dict[str, str]) -> None:
    text = comparison(side("one", ONE), side("other", ONE, **made_with))
    assert len(cells(text, "internal")) == 2
    assert "not subtracted" in text


def test_versions_that_differ_are_listed() -> None:
    text = comparison(
        side("one", ONE, commit="abc", result_version="1"), side("other", ONE, commit="def", result_version="2")
    )
    assert "Made with: commit abc → def; result version 1 → 2" in text
    assert "No difference to A" in text


def test_times_of_trials_that_ran_otherwise_are_not_subtracted() -> None:
    def timed(seconds: float, how: str, *further: dict[str, object]) -> Side:
        cost = {"last__fid": 1.0, "cost__seconds_per_iteration": seconds}
        return Side(how, make([*(finished("a", seed, **cost, timed=how) for seed in range(2)), *further]))

    otherwise = finished("a", 2, last__fid=1.0, cost__seconds_per_iteration=0.9, timed="beside others")
    alone = timed(0.5, "alone")
    assert len(cells(comparison(alone, timed(0.6, "beside others")), "a")) == 2
    assert cells(comparison(alone, timed(0.6, "alone", otherwise)), "a")[2] == "+0.100 (+0.100 to +0.100), n = 2"


def test_sweeps_without_a_row_in_common_are_refused_with_their_rows() -> None:
    with pytest.raises(RecordsError, match=r"no row in common.*“internal”, “external”.*“new”"):
        comparison(side("one", ONE), side("other", {"new": [1.0]}))


def test_one_seed_has_no_verdict() -> None:
    text = comparison(side("one", {"a": [1.0]}), side("other", {"a": [9.0]}))
    assert "Only one seed" in text and "etter" not in text and "orse" not in text


def test_nothing_finished_has_no_verdict() -> None:
    none: SweepRecord = make([{"row": "a", "seed": 0, "status": "FAILED", "error": "no"}])
    assert "No seed is finished" in comparison(Side("one", none), Side("other", none))
