import pandas as pd
from sample_records import NO_PAPER, PAPER, finished, make, record

from analysis.records.names import timed_metrics
from analysis.statistics.estimates import summary, values_of
from analysis.tables.columns import DASH
from analysis.tables.table import SOURCE_ROW, Table, table


def made(*runs: dict[str, object]) -> Table:
    return table(make(list(runs)), NO_PAPER)


def scores(cells: pd.DataFrame) -> list[str]:
    """The titles of the columns behind settings and n."""
    return [title for title in cells if title not in ("number", "n")]


def test_table_keeps_the_sweeps_rows_behind_the_source() -> None:
    cells = table(record(), PAPER).cells
    assert list(cells.index) == [SOURCE_ROW, "a_b|c", "lone"]
    assert cells.loc[SOURCE_ROW, "FD (small-conv), last ↓"] == "80.00"
    assert cells.loc["a_b|c", "FD (small-conv), last ↓"] == "12.00 ± 2.83"
    assert cells.loc["lone", "FD (small-conv), last ↓"] == "20.00"
    assert cells.loc["lone", "FD (small-conv), best ↓"] == DASH


def test_columns_without_a_value_are_left_out() -> None:
    assert not any(title.startswith("FID,") for title in table(record(), PAPER).cells)


def test_rows_that_lack_a_seed_say_how_many_they_have_and_why() -> None:
    found = table(record(), PAPER)
    assert list(found.cells["n"]) == [DASH, "2 of 3 [1]", "1 of 2 [2]"]
    assert found.notes == ("[1] a_b|c, seed 2: failed: RuntimeError: no_room & <none>", "[2] lone, seed 1: not started")


def test_a_score_of_fewer_seeds_than_the_row_has_says_of_how_many() -> None:
    runs = [finished("a", seed, last__fid=50.0 + seed) for seed in range(3)]
    del runs[2]["last/fid"]
    runs[0] |= {"last/kid": 0.01}
    cells = made(*runs).cells
    assert cells.loc["a", "n"] == "3"
    assert cells.loc["a", "FID, last ↓"] == "50.5 ± 0.7 (n = 2)"
    assert cells.loc["a", "KID, last ↓"] == "0.0100 (n = 1)"


def test_difference_is_paired_by_seed_and_has_an_interval_from_two_seeds_on() -> None:
    of_row = {"a": (10.0, 20.0, 30.0), "b": (11.0, 23.0, 32.0), "c": (9.0,)}
    runs = [
        finished(row, seed, last__fid=value, best__fid=value)
        for row, values in of_row.items()
        for seed, value in enumerate(values)
    ]
    cells = made(*runs).cells
    # The mean of 1, 3 and 2, and 4.303 times their deviation of 1 over the root of 3.
    assert list(cells["Δ to a (95 % CI)"]) == [
        "baseline",
        "+2.0 (−0.5 to +4.5)",
        "−1.0 (1 seed, no CI)",
    ]


def test_difference_takes_only_seeds_that_both_rows_have() -> None:
    runs = [finished("a", 0, last__fid=10.0, best__fid=1.0), finished("a", 1, last__fid=20.0, best__fid=1.0)]
    runs += [finished("b", 1, last__fid=21.0, best__fid=1.0), finished("b", 2, last__fid=99.0, best__fid=1.0)]
    cells = made(*runs).cells
    assert cells.loc["b", "Δ to a (95 % CI)"] == "+1.0 (1 seed, no CI)"
    runs[2]["seed"] = 3
    assert made(*runs).cells.loc["b", "Δ to a (95 % CI)"] == DASH


def test_rows_are_compared_with_the_sweeps_default_wherever_it_stands() -> None:
    runs = [finished(row, 0, last__fid=value, best__fid=value) for row, value in (("a", 10.0), ("b", 12.5))]
    cells = table(make(runs, default="b"), NO_PAPER).cells
    assert list(cells["Δ to b (95 % CI)"]) == ["−2.5 (1 seed, no CI)", "baseline"]


def test_a_sweep_without_any_finished_trial_has_a_table_of_dashes_and_reasons() -> None:
    found = made(*({"row": row, "seed": 0, "status": "FAILED", "error": "no"} for row in ("a_b|c", "lone")))
    assert list(found.cells.index) == ["a_b|c", "lone"]
    assert list(found.cells["n"]) == ["0 of 1 [1]", "0 of 1 [2]"]
    assert len(found.notes) == 2


def timed(row: str, seed: int, packed: str, seconds: float) -> dict[str, object]:
    return finished(row, seed, timed=packed, last__fd_small_conv=10.0, cost__seconds_per_iteration=seconds)


def test_packed_and_unpacked_seconds_are_not_compared() -> None:
    shared = "up to 2 side by side"
    found = made(
        timed("a_b|c", 0, shared, 0.05),
        timed("a_b|c", 1, "alone", 0.03),
        timed("lone", 0, "alone", 0.03),
        timed("lone", 1, shared, 0.07),
        timed("a_b|c", 2, shared, 0.07),
    )
    assert list(found.cells["seconds per iteration ↓"]) == ["0.060 ± 0.014 (n = 2)", "0.070 (n = 1)"]
    assert list(found.cells["FD (small-conv), last ↓"]) == ["10.00 ± 0.00", "10.00 ± 0.00"]
    (note,) = found.notes
    assert shared in note and "2 that ran otherwise are left out" in note


def test_stopped_trials_never_enter() -> None:
    stopped = {"status": "KILLED", "error": "", "stopped": "by the search after epoch 2", "timed": "alone"}
    # A score of a stopped trial would be no end of a training; the reader has none, and nobody looks at it here.
    found = made(timed("lone", 0, "alone", 0.03), {"row": "a_b|c", "seed": 0, **stopped, "last/fd_small_conv": 1.0})
    assert list(found.cells["FD (small-conv), last ↓"]) == ["10.00", DASH]
    assert found.notes == ("[1] a_b|c, seed 0: stopped by the search after epoch 2",)
    some = made(
        {"row": "a_b|c", "seed": 0, **stopped, "last/fd_small_conv": 1.0},
        timed("a_b|c", 1, "alone", 0.03),
        timed("lone", 1, "alone", 0.03),
    )
    assert some.cells.loc["a_b|c", "FD (small-conv), last ↓"] == "10.00"


def test_all_that_depends_on_who_else_used_the_device_is_of_trials_that_ran_alike() -> None:
    values = dict.fromkeys(timed_metrics(), 1.0)
    found = values_of(
        make(
            [
                finished("a", 0, **values, cost__training_peak_live_gb=1.0),
                finished(
                    "a",
                    1,
                    **dict.fromkeys(timed_metrics(), 9.0),
                    cost__training_peak_live_gb=3.0,
                    timed="up to 2 side by side",
                ),
                finished("b", 0, **values),
            ]
        )
    )
    of_row = {metric: summary(found, metric)["a"] for metric in (*timed_metrics(), "cost/training_peak_live_gb")}
    means = {metric: (line.mean, line.n) for metric, line in of_row.items()}
    assert means == {**dict.fromkeys(timed_metrics(), (1.0, 1)), "cost/training_peak_live_gb": (2.0, 2)}


def test_best_epoch_follows_the_best_score() -> None:
    recorded = {"last__fid": 60.0, "best__fid": 50.0, "last__kid": 0.01}
    cells = made(*(finished("a", seed, **recorded, best__epoch=epoch) for seed, epoch in ((0, 10.0), (1, 15.0)))).cells
    assert scores(cells) == ["FID, last ↓", "FID, best ↓", "best epoch", "KID, last ↓"]
    assert list(cells["best epoch"]) == ["12 ± 4"]


def test_every_recorded_score_is_a_column_also_where_the_source_lacks_it() -> None:
    recorded = {"precision": 0.7, "recall": 0.4, "lpips": 0.25, "fd_dinov2": 812.3, "mAP": 20.1, "pixAcc": 61.0}
    last = {f"last__{name}": value for name, value in recorded.items()}
    cells = made(*(finished(row, 0, **last, last__classAcc=25.0, source__lpips=0.0) for row in ("a", "b"))).cells
    assert cells.loc["b", scores(cells)].to_dict() == {
        "precision, last ↑": "0.700",
        "recall, last ↑": "0.400",
        "LPIPS to the input, last ↓": "0.250",
        "FD (DINOv2), last ↓": "812.3",
        "mAP, last ↑": "20.1",
        "pixAcc, last ↑": "61.0",
        "classAcc, last ↑": "25.0",
    }
    source = cells.loc[SOURCE_ROW]
    assert source["LPIPS to the input, last ↓"] == "0.000"
    assert set(source.drop("LPIPS to the input, last ↓")) == {DASH}


def test_memory_of_training_is_in_the_table_by_its_kind() -> None:
    costs = {"live": 1.5, "allocated": 2.0, "reserved": 2.5}
    recorded = {f"cost__training_peak_{kind}_gb": value for kind, value in costs.items()}
    cells = made(*(finished(row, 0, last__kid=0.01, **recorded, train__nce=3.0) for row in ("a", "b"))).cells
    assert scores(cells) == [
        "KID, last ↓",
        "peak memory, GB ↓",
        "peak CUDA memory allocated, GB ↓",
        "peak CUDA memory reserved, GB ↓",
    ]
    assert cells.loc["b", "peak CUDA memory reserved, GB ↓"] == "2.50"


def test_what_a_trial_costs_is_the_hours_of_its_device_times_the_price() -> None:
    runs = [finished("a", 0, cost__device_hours=2.0)]
    assert table(make(runs, price_per_hour=2.5), NO_PAPER).cells.loc["a", "cost per trial (2.5 per hour) ↓"] == "5.00"
    assert scores(table(make(runs), NO_PAPER).cells) == []


def test_rows_whose_scores_were_taken_otherwise_have_no_difference() -> None:
    recorded = {"last__fid": 60.0, "best__fid": 50.0}
    runs = [finished("a", seed, **recorded, arithmetic="float32") for seed in range(2)]
    runs += [finished(row, seed, **recorded, arithmetic=row) for row in ("TF32", "float32") for seed in range(2)]
    found = made(*runs)
    assert list(found.cells["Δ to a (95 % CI)"]) == ["baseline", DASH, "0 in all 2 seeds"]
    assert "arithmetic (float32 in 4, TF32 in 2)" in found.notes[-1]


def test_samples_that_a_search_stopped_are_counted_and_a_stopped_row_of_the_sweep_stays() -> None:
    stopped = {"status": "KILLED", "error": "", "stopped": "by the search after epoch 1"}
    runs = [finished("a", 0, last__fid=1.0), {"row": "b", "seed": 0, **stopped}, finished("sample 0", 0, last__fid=2.0)]
    runs += [{"row": f"sample {number}", "seed": 0, **stopped} for number in (1, 2)]
    found = made(*runs)
    assert list(found.cells.index) == ["a", "b", "sample 0"]
    assert found.notes == (
        "[1] b, seed 0: stopped by the search after epoch 1",
        "Not shown: 2 samples stopped by the search",
    )


def test_difference_stands_also_where_no_best_is_recorded() -> None:
    cells = made(*(finished(row, 0, last__fid=1.0) for row in ("a", "b"))).cells
    assert scores(cells) == ["FID, last ↓", "Δ to a (95 % CI)"]


def test_a_score_that_is_not_finite_is_left_out_with_a_footnote() -> None:
    found = made(finished("a", 0, last__kid=0.5, not_finite="last/fid, best/fid"))
    assert found.notes == ("a, seed 0: left out, not finite: last/fid, best/fid",)


def collapsing(row: str, *of_seeds: tuple[float, str]) -> list[dict[str, object]]:
    """Trials of six epochs with a FID and the last collapsed epoch."""
    return [
        finished(row, seed, last__fid=fid, best__fid=fid - 1, last__epoch=6.0, cost__device_hours=1.0, collapsed=epoch)
        for seed, (fid, epoch) in enumerate(of_seeds)
    ]


def test_a_trial_that_collapsed_and_recovered_keeps_its_scores_with_a_footnote() -> None:
    found = made(*collapsing("a", (1.0, ""), (3.0, "5")))
    assert found.cells.loc["a", ["n", "FID, last ↓"]].to_list() == ["2", "2.0 ± 1.4"]
    assert found.notes == ("a, seed 1: collapsed, all translations were alike after epoch 5; it recovered",)


def test_a_collapse_counts_as_recovered_where_the_last_epoch_is_not_recorded() -> None:
    found = made(finished("a", 0, last__fid=1.0), finished("a", 1, last__fid=3.0, collapsed="7"))
    assert "2.0 ± 1.4" in found.cells.loc["a"].to_list()
    assert found.notes == ("a, seed 1: collapsed, all translations were alike after epoch 7",)


def test_a_trial_that_ended_collapsed_is_counted_and_in_no_mean_or_difference() -> None:
    runs = [*collapsing("a", (1.0, ""), (3.0, ""), (4.0, "")), *collapsing("b", (2.0, ""), (5.0, ""), (400.0, "6"))]
    found = made(*runs)
    row = found.cells.loc["b"]
    assert row["n"] == "2 of 3, 1 collapsed [1]"
    assert (row["FID, last ↓"], row["FID, best ↓"]) == ("3.5 ± 2.1", "2.5 ± 2.1")
    assert row["Δ to a (95 % CI)"] == "+1.5 (−4.9 to +7.9)"
    assert found.notes == ("[1] b, seed 2: collapsed: all translations were alike after epoch 6, the last",)
    assert table(make(runs, price_per_hour=2.0), NO_PAPER).cells.loc["b"].iloc[-1] == "2.00 ± 0.00 (n = 3)"


def test_rows_of_which_every_trial_collapsed_have_dashes_and_no_nan() -> None:
    gone = [*collapsing("b", (400.0, "6"), (401.0, "6"))]
    for runs in ([*collapsing("a", (1.0, ""), (2.0, "")), *gone], [*gone, *collapsing("c", (1.0, ""))], gone):
        found = made(*runs)
        assert found.cells.loc["b", "n"] == "0 of 2, 2 collapsed [1]"
        assert found.cells.loc["b", "FID, last ↓"] == DASH
        assert "nan" not in found.cells.to_string() and len(found.notes) == 2


def test_a_row_that_is_called_as_the_source_is_keeps_its_name() -> None:
    cells = made(finished(SOURCE_ROW, 0, last__fid=1.0, source__fid=9.0)).cells
    assert list(cells.index) == [f"{SOURCE_ROW} (images of A)", SOURCE_ROW]


def test_old_records_without_settings_say_so_and_how_to_add_them() -> None:
    runs = [finished(row, 0, last__fid=50.0) for row in ("a", "b")]
    found = table(make(runs, settings={"a": {}, "b": {}}), NO_PAPER)
    assert "first row is taken as the baseline" in found.notes[-1] and "just sweep mine" in found.notes[-1]
    assert next(iter(found.cells)) == "n"


def content(row: str, *of_seeds: float) -> list[dict[str, object]]:
    return [finished(row, seed, last__fid=9.0, last__object_iou=iou) for seed, iou in enumerate(of_seeds)]


def test_a_star_marks_what_is_told_apart_in_the_difference_and_in_content() -> None:
    runs = [*content("a", 0.50, 0.60, 0.70), *content("b", 0.61, 0.70, 0.80), *content("c", 0.55, 0.50, 0.80)]
    for run in runs:
        run["last/fid"] = {"a": 10.0, "b": 10.0, "c": 15.0}[str(run["row"])] + float(str(run["seed"]))
    runs[-1]["last/fid"] = 17.02
    cells = made(*runs).cells
    assert list(cells["overlap (IoU), last ↑"]) == ["0.600 ± 0.100", "0.703 ± 0.095 *", "0.617 ± 0.161"]
    assert list(cells["Δ to a (95 % CI)"]) == ["baseline", "0 in all 3 seeds", "+5.0 (+5.0 to +5.0) *"]


def test_a_difference_that_the_digits_do_not_show_has_no_star() -> None:
    runs = [finished(row, seed, last__fid=fid) for row, fid in (("a", 10.0), ("b", 10.0001)) for seed in range(3)]
    assert list(made(*runs).cells["Δ to a (95 % CI)"]) == ["baseline", "+0.0 (+0.0 to +0.0)"]


def test_a_single_row_or_seed_of_content_has_no_star_and_no_nan() -> None:
    for runs in (content("a", 0.5, 0.6), [*content("a", 0.5), *content("b", 0.9)]):
        text = made(*runs).cells.to_string()
        assert "*" not in text and "nan" not in text
