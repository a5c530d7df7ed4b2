"""The summary of made-up sweeps states the right facts, and no more than the intervals support."""

from dataclasses import replace

import pytest
from sample_records import NO_COURSE, NO_PAPER, finished, make

from analysis.records.schema import SweepRecord
from analysis.tables import summary
from analysis.tables.summary import sweep_command


def sweep(memory: dict[str, float] | None = None, **of_rows: list[float]) -> SweepRecord:
    """Rows with a FID per seed, and a peak memory that is the same in each seed of the row."""
    costs = {row: {"cost__training_peak_live_gb": peak} for row, peak in (memory or {}).items()}
    return make(
        [
            finished(row, seed, last__fid=value, **costs.get(row, {}))
            for row, values in of_rows.items()
            for seed, value in enumerate(values)
        ]
    )


def groups(text: str) -> dict[str, str]:
    """The sentences of a paragraph by the words that they start with."""
    return dict(sentence.rstrip(".").split(": ", 1) for sentence in text.replace(". ", ".\n").splitlines())


def summary_sentences(record: SweepRecord) -> tuple[str, ...]:
    return summary.summary_sentences(record, NO_COURSE, NO_PAPER)


IN_FID = "in FID at the end of training"


def test_a_clear_winner_is_better_with_its_interval() -> None:
    (quality,) = summary_sentences(sweep(internal=[50.0, 60.0, 70.0], external=[40.0, 51.0, 60.0]))
    assert groups(quality) == {f"Better than “internal” {IN_FID}": "“external” −9.7 (95 % CI −11.1 to −8.2, 3 seeds)"}


def test_a_clear_loser_is_worse() -> None:
    (quality,) = summary_sentences(sweep(internal=[40.0, 51.0, 60.0], external=[50.0, 60.0, 70.0]))
    assert groups(quality) == {f"Worse than “internal” {IN_FID}": "“external” +9.7 (95 % CI +8.2 to +11.1, 3 seeds)"}


def test_a_tie_has_no_clear_winner() -> None:
    (quality,) = summary_sentences(sweep(internal=[50.0, 60.0, 70.0], external=[55.0, 52.0, 71.0]))
    difference = "“external” −0.7 (95 % CI −17.2 to +15.9, 3 seeds; about 785 would show it)"
    assert groups(quality) == {f"No clear winner against “internal” {IN_FID}": difference}


def test_equal_rows_are_equal() -> None:
    (quality,) = summary_sentences(sweep(internal=[50.0, 60.0], external=[50.0, 60.0]))
    assert groups(quality) == {f"No difference to “internal” {IN_FID}, equal in every seed": "“external”"}


@pytest.mark.parametrize("distance", [0.1, 1000.0])
def test_one_seed_gives_no_conclusion_however_large_the_difference_and_says_how_to_add_seeds(distance: float) -> None:
    record = sweep({"internal": 1.0, "external": 2.0}, internal=[50.0], external=[50.0 + distance])
    (only,) = summary_sentences(record)
    assert "one seed" in only and "no conclusions" in only
    assert "just sweep mine 'seeds=[0,1,2]'" in only
    assert "internal" not in only


def test_seeds_to_add_are_new_and_the_command_keeps_file_and_overrides() -> None:
    runs = [finished(row, 1, last__fid=1.0) for row in ("a", "b")]
    (only,) = summary_sentences(make(runs, file="mine/my sweep.yaml", command=("data.size=32",)))
    assert only.endswith("just sweep 'mine/my sweep.yaml' data.size=32 'seeds=[1,0,2]'")


def test_a_search_has_one_seed_so_that_none_is_added() -> None:
    (only,) = summary_sentences(replace(search(default=80.0, sample_0=88.4), other_seeds={1: 2}))
    assert "not in this table" not in only


def test_a_trial_of_just_train_is_repeated_by_just_train() -> None:
    record = make([finished("a", 3)], sweep="single", command=("model=cyclegan",))
    assert sweep_command(record, [3]) == "just train model=cyclegan seed=3"


def test_rows_of_every_kind_are_in_one_paragraph() -> None:
    record = sweep(base=[50.0, 60.0], low=[40.0, 50.1], high=[61.0, 71.1], tie=[49.0, 62.0], one=[1.0])
    (quality,) = summary_sentences(record)
    starts = ("Better than", "Worse than", "No clear winner against", "Only one seed")
    found = groups(quality)
    for row, start, sentence in zip(("low", "high", "tie", "one"), starts, found, strict=True):
        assert sentence.startswith(start) and found[sentence].startswith(f"“{row}”")


def test_many_rows_are_counted_behind_the_first_ones() -> None:
    (quality,) = summary_sentences(sweep(base=[1.0, 1.1], **{f"row{number}": [2.0, 2.1] for number in range(7)}))
    assert "row3" in quality
    assert "row4" not in quality
    assert quality.endswith(" and 3 more.")


def test_cost_that_does_not_vary_has_no_interval() -> None:
    record = sweep({"internal": 1.0, "external": 1.5}, internal=[5.0, 6.0], external=[5.0, 6.0])
    _, cost = summary_sentences(record)
    assert groups(cost) == {"More memory than “internal”": "“external” +0.500 GB (in all 2 seeds)"}


def test_slower_and_faster_rows_have_the_difference_in_seconds() -> None:
    seconds = {"a": 1.0, "slow": 1.5, "fast": 0.5}
    runs = [
        finished(row, seed, last__fid=1.0, cost__seconds_per_iteration=value)
        for row, value in seconds.items()
        for seed in range(2)
    ]
    cost = groups(summary_sentences(make(runs))[1])
    assert cost["Slower than “a”"].startswith("“slow” +0.500 s/iteration")
    assert cost["Faster than “a”"].startswith("“fast” −0.500 s/iteration")


def test_a_difference_that_the_digits_do_not_show_is_none() -> None:
    record = sweep({"internal": 1.0, "external": 1.000012}, internal=[5.0, 6.0], external=[5.0, 6.0])
    assert groups(summary_sentences(record)[1]) == {"Same memory as “internal”": "“external”"}


def test_a_row_without_a_common_seed_is_named_once() -> None:
    costs = {"last__fid": 1.0, "cost__seconds_per_iteration": 1.0}
    runs = [finished(row, seed, **costs) for row in ("a", "b") for seed in range(2)]
    record = make([*runs, {"row": "c", "seed": 0, "status": "FAILED", "error": "no"}])
    quality, cost = summary_sentences(record)
    assert groups(quality)["No seed to compare with “a”"] == "“c”"
    assert "“c”" not in cost


def test_a_row_that_was_scored_differently_is_not_compared() -> None:
    runs = [
        finished(row, seed, last__fid=fid, extractor=row) for row, fid in (("a", 9.0), ("b", 1.0)) for seed in range(2)
    ]
    (quality,) = summary_sentences(make(runs))
    (start,) = groups(quality)
    assert start.startswith("Not compared") and groups(quality)[start] == "“b”"


def test_rows_are_compared_only_with_the_default_row() -> None:
    runs = [finished(row, seed, last__fid=value + seed) for row, value in (("a", 9.0), ("b", 5.0)) for seed in range(2)]
    runs[0]["last/fid"] = 9.01
    (quality,) = summary_sentences(make(runs, default="b"))
    assert quality.startswith(f"Worse than “b” {IN_FID}: “a” +4.0")


def search(**scores: float) -> SweepRecord:
    """A search with these finished rows, and a sample that was stopped."""
    runs = [finished(row.replace("_", " "), 0, last__fid=score) for row, score in scores.items()]
    runs += [{"row": "sample 3", "seed": 0, "status": "KILLED", "error": "", "stopped": "by the search"}]
    return make(runs, file="mine/search.yaml", default="default")


def test_a_search_names_its_best_sample_the_next_and_how_to_promote_it() -> None:
    (only,) = summary_sentences(search(default=174.4, sample_0=99.0, sample_1=90.0, sample_2=88.4))
    for fact in ("Best of 3 samples", "FID", "“sample 2” (88.4)", "One seed", "a hint"):
        assert fact in only
    assert "“sample 1” (90.0) is 1.6 behind; “default” (174.4) is 86.0 behind." in only
    assert only.endswith("just promote mine/search.yaml")
    assert "sample 0" not in only and "sample 3" not in only and len(only.split(". ")) == 4


def test_a_default_that_beats_every_sample_of_a_search_is_ahead() -> None:
    (only,) = summary_sentences(search(default=80.0, sample_0=88.4))
    assert "“default” (80.0) is 8.4 ahead." in only and only.count("behind") == 0


def test_a_search_of_which_no_sample_has_ended_says_how_to_resume_it() -> None:
    (only,) = summary_sentences(search(default=80.0))
    assert "just sweep mine/search.yaml" in only and "three seeds" not in only and "[0,1,2]" not in only


def test_a_sweep_without_a_result_or_with_one_row_says_so() -> None:
    assert summary_sentences(make([{"row": "a", "seed": 0, "status": "FAILED", "error": "no"}])) == (
        "No trial is finished yet.",
    )
    assert "only one row" in summary_sentences(sweep(a=[1.0, 2.0]))[0]
    lost = make([{**finished("a", 0), "status": "FAILED"}, *(finished("b", seed, last__fid=1.0) for seed in (0, 1))])
    assert summary_sentences(lost) == ("No seed to compare with “a”: “b”.",)


def test_a_content_score_knows_its_better_side() -> None:
    scores = {"a": (0.7, 1.0), "better": (0.9, 0.5), "worse": (0.5, 4.0)}
    runs = [
        finished(row, seed, last__fid=1.0, last__object_iou=iou * 1.01**seed, last__ground_changed=ground * 1.1**seed)
        for row, (iou, ground) in scores.items()
        for seed in range(3)
    ]
    _, content = summary_sentences(make(runs))
    found = groups(content)
    assert found["Better than “a” in overlap (IoU)"].startswith("“better” +0.20")
    assert found["Worse than “a” in overlap (IoU)"].startswith("“worse” −0.20")
    assert found["Better than “a” in ground changed"].startswith("“better” −0.55 points")
    assert found["Worse than “a” in ground changed"].startswith("“worse” +3.31 points")


def test_many_unclear_rows_are_only_named_for_content_and_spelt_for_the_distance() -> None:
    noise = {"a": (1.0, 2.0, 3.0), "b": (2.0, 1.0, 3.0), "c": (3.0, 1.0, 2.0), "d": (1.0, 3.0, 2.0)}
    runs = [
        finished(row, seed, last__fid=10 * value, last__object_iou=value / 10)
        for row, values in noise.items()
        for seed, value in enumerate(values)
    ]
    distance, content = summary_sentences(make(runs))
    assert distance.count("95 % CI") == 3
    assert content == "No clear winner against “a” in overlap (IoU): “b”, “c” and “d”."


def test_of_several_rows_one_is_called_better_only_after_holms_correction() -> None:
    # p = 0.03 by itself.
    base, clear = [50.0, 60.0, 70.0], [49.0, 58.4, 68.0]
    (alone,) = summary_sentences(sweep(a=base, b=clear))
    assert groups(alone)[f"Better than “a” {IN_FID}"].startswith("“b” −1.5")
    assert "corrected" not in alone
    (among,) = summary_sentences(sweep(a=base, b=clear, c=[51.0, 58.0, 70.5], d=[50.0, 61.0, 71.0]))
    assert list(groups(among)) == [f"No clear winner against “a” {IN_FID}"]
    assert "“b” −1.5 (95 % CI −2.8 to −0.3, corrected p = 0.1" in among


def test_the_first_sentence_names_collapsed_trials_by_row_and_seed() -> None:
    def trials(row: str, *of_seeds: tuple[float, str]) -> list[dict[str, object]]:
        return [
            finished(row, seed, last__fid=fid, last__epoch=6.0, collapsed=epoch)
            for seed, (fid, epoch) in enumerate(of_seeds)
        ]

    gone = trials("b", (400.0, "6"), (401.0, "6"), (402.0, "6"))
    some = trials("c", (1.5, "3"), (2.6, ""), (99.0, "6"))
    first, quality = summary_sentences(make([*trials("a", (1.0, ""), (2.0, ""), (3.0, "")), *gone, *some]))
    assert first.endswith(": “b” (3 of 3 trials: seeds 0, 1, 2) and “c” (1 of 3 trials: seed 2).")
    assert groups(quality)["No seed to compare with “a”"] == "“b”"
    assert "“c” +0.6 (95 % CI" in quality and "2 seeds" in quality
    first, nothing = summary_sentences(make([*gone, *some]))
    assert "“b”" in first and groups(nothing) == {"No seed to compare with “b”": "“c”"}
    assert "3 of 3" in summary_sentences(make(gone))[0]


def test_rows_that_are_not_told_apart_say_how_many_seeds_would_do() -> None:
    # A difference of one standard deviation: 10 seeds in every textbook.
    (quality,) = summary_sentences(sweep(a=[50.0, 60.0, 70.0], b=[50.0, 61.0, 72.0]))
    assert quality.endswith("3 seeds; about 10 would show it).")


def test_no_seeds_are_asked_for_where_a_row_is_told_apart_or_equal_or_has_one_seed() -> None:
    for of_b in ([40.0, 51.0, 60.0], [50.0, 60.0, 70.0], [1.0]):
        assert "would show" not in " ".join(summary_sentences(sweep(a=[50.0, 60.0, 70.0], b=of_b)))


def test_a_difference_of_next_to_nothing_needs_more_seeds_than_anyone_has() -> None:
    (quality,) = summary_sentences(sweep(a=[50.0, 60.0], b=[150.0, -39.8]))
    assert quality.endswith("; more than 1000 would show it).")


def test_no_seeds_are_asked_for_to_show_a_difference_that_the_digits_do_not_show() -> None:
    (quality,) = summary_sentences(sweep(a=[50.0, 60.0, 70.0], b=[50.04, 60.045, 70.035]))
    assert "would show it" not in quality


def test_a_difference_is_in_all_seeds_only_if_every_seed_shows_it() -> None:
    base = [float(seed) for seed in range(20)]
    (quality,) = summary_sentences(sweep(a=base, b=[*(fid + 5 for fid in base[:18]), 18 + 5.12, 19 + 4.88]))
    assert "“b” +5.0 (95 % CI +5.0 to +5.0, 20 seeds)" in quality


@pytest.mark.parametrize(("count", "said"), [(1, "; 1 trial collapsed)"), (2, "; 2 trials collapsed)")])
def test_a_row_of_survivors_says_how_many_trials_have_collapsed(count: int, said: str) -> None:
    runs = [
        finished(
            row, seed, last__fid=fid + seed**2, last__epoch=6.0, collapsed="6" if row == "b" and seed < count else ""
        )
        for row, fid in (("a", 50.0), ("b", 5.0))
        for seed in range(4)
    ]
    _, quality = summary_sentences(make(runs))
    assert quality.startswith(f"No clear winner against “a” {IN_FID}") and said in quality


def test_finished_trials_without_a_distance_are_not_called_unfinished() -> None:
    (said,) = summary_sentences(make([finished(row, 0, cost__device_hours=1.0) for row in "ab"]))
    assert said == "No finished trial has a distance."
