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
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {row} "))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_both_sides_are_shown_with_their_paired_difference() -> None:
    text = comparison(side("v1", ONE), side("v2", {"internal": [51.0, 61.5, 71.0], "external": [40.0, 70.0, 71.0]}))
    assert cells(text, "internal") == ["60.0 ± 10.0 (n = 3)", "61.2 ± 10.0 (n = 3)", "+1.2 (+0.4 to +1.9)"]
    assert "Worse than A in FID at the end of training: “internal” +1.2" in text
    assert "No clear winner against A in FID at the end of training: “external”" in text


def test_the_same_trials_are_named() -> None:
    text = comparison(side("one", ONE, keys="k"), side("other", ONE, keys="k"))
    assert "The same trials in A and B: “internal”, “external”." in text
    assert cells(text, "internal")[2] == "+0.0 (+0.0 to +0.0)"


def test_equal_trials_of_two_stores_are_compared_and_not_called_the_same() -> None:
    one, other = side("one", ONE, keys="k"), side("other", ONE, keys="k")
    elsewhere = Side("other", replace(other.record, store="another store"))
    assert "Equal to A in FID at the end of training: “internal” and “external”" in comparison(one, elsewhere)


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
    assert lines[-2:] == ["- train.batch\\_size: 2 → 1", "- metric.also: [lpips] → –"]


def test_rows_of_only_one_side_have_dashes_on_the_other() -> None:
    text = comparison(side("one", ONE), side("other", {"internal": [50.0, 60.0], "new": [1.0, 2.0]}))
    assert cells(text, "external") == ["58.7 ± 13.5 (n = 3)", "–", "–"]
    assert cells(text, "new") == ["–", "1.5 ± 0.7 (n = 2)", "–"]


@pytest.mark.parametrize("made_with", [{"data_fingerprint": "e"}, {"extractor": "other"}, {"images_a": "5"}])
def test_scores_measured_differently_are_not_subtracted(made_with: dict[str, str]) -> None:
    text = comparison(side("one", ONE), side("other", ONE, **made_with))
    assert len(cells(text, "internal")) == 2
    assert "not subtracted" in text


def test_versions_that_differ_are_listed() -> None:
    text = comparison(
        side("one", ONE, commit="abc", result_version="1"), side("other", ONE, commit="def", result_version="2")
    )
    assert "- commit: abc → def" in text
    assert "- result version: 1 → 2" in text
    assert "+0.0" in text


def test_times_of_trials_that_ran_otherwise_are_not_subtracted() -> None:
    def timed(how: str) -> Side:
        runs = [finished("a", seed, last__fid=1.0, cost__seconds_per_iteration=0.5, timed=how) for seed in range(2)]
        return Side(how, make(runs))

    text = comparison(timed("alone"), timed("beside others"))
    mixed = [finished("a", seed, last__fid=1.0, cost__seconds_per_iteration=0.5, timed="alone") for seed in range(2)]
    mixed += [finished("a", 2, last__fid=1.0, cost__seconds_per_iteration=0.9, timed="beside others")]
    assert "seconds per iteration, B − A" in comparison(timed("alone"), Side("mixed", make(mixed)))
    assert "seconds per iteration, B − A" not in text
    assert "seconds per iteration, B − A" in comparison(timed("alone"), timed("alone"))


def test_sweeps_without_a_row_in_common_are_refused_with_their_rows() -> None:
    with pytest.raises(RecordsError, match=r"no row in common.*“internal”, “external”.*“new”"):
        comparison(side("one", ONE), side("other", {"new": [1.0]}))


def test_one_seed_has_no_verdict() -> None:
    text = comparison(side("one", {"a": [1.0]}), side("other", {"a": [9.0]}))
    assert "Only one seed" in text and "etter" not in text and "orse" not in text


def test_nothing_finished_has_no_verdict() -> None:
    none: SweepRecord = make([{"row": "a", "seed": 0, "status": "FAILED", "error": "no"}])
    assert "No seed is finished" in comparison(Side("one", none), Side("other", none))
