"""The figure of scores over training."""

import math

import pandas as pd
import pytest
from sample_figures import NO_COURSE, course, drawn, lines, points, sweep
from sample_records import finished, make

from analysis.figures.data import row_courses
from analysis.figures.draw import MOST_THIN_LINES


def test_mean_is_drawn_where_all_seeds_have_a_value() -> None:
    record = sweep({"a": [1, 2]})
    known = course(record).query("seed == 0 or step < 200")
    along, courses, _ = row_courses(record, known, ["a"])
    assert along == "epoch" and courses["a"].dropna().to_dict("list") == {0: [13.0, 12.0], 1: [14.0, 13.0]}
    axes = drawn(record, known)["course"].figure.axes[0]
    assert points(axes, "mean") == [(0.0, 13.5), (1.0, 12.5)]


@pytest.mark.parametrize("seeds", [2, MOST_THIN_LINES + 1])
def test_seeds_without_a_common_step_are_drawn_without_a_mean(seeds: int) -> None:
    record = sweep({"a": [1.0] * seeds})
    known = course(record)
    known["step"] += known["seed"]
    known["epoch"] = known["step"] / 100
    drawing = drawn(record, known)["course"]
    axes = drawing.figure.axes[0]
    assert len(lines(axes, "seed")) == seeds and not lines(axes, "mean")
    assert "no step in common" in drawing.caption and drawing.alt == "Lines of FID over epoch."


def test_single_evaluation_is_a_point_at_a_whole_epoch() -> None:
    record = sweep({"a": [1, 2]})
    figure = drawn(record, course(record, 1))["course"].figure
    axes = figure.axes[0]
    assert axes.get_xlim() == (-0.5, 0.5)
    assert [label.get_text() for label in axes.get_xticklabels() if abs(label.get_position()[0]) <= 0.5] == ["0"]
    assert all(line.get_marker() == "o" for line in lines(axes, "seed")) and not lines(axes, "best")


def test_evaluations_of_one_step_keep_their_order() -> None:
    record = sweep({"a": [1]})
    many = pd.DataFrame([("a", 0, at % 2, math.nan, float(at)) for at in range(100)], columns=NO_COURSE.columns)
    assert row_courses(record, many, ["a"])[1]["a"][0].to_dict() == {0.0: 98.0, 1.0: 99.0}


def test_star_is_at_each_seeds_best() -> None:
    record = sweep({"a": [1, 2]})
    assert points(drawn(record, course(record))["course"].figure.axes[0], "best") == [(2.0, 11.0), (2.0, 12.0)]


def test_course_runs_over_steps_where_an_epoch_is_unknown() -> None:
    record = sweep({"a": [1], "b": [1]})
    known = course(record)
    known.loc[0, "epoch"] = math.nan
    axes = drawn(record, known)["course"].figure.axes[0]
    assert axes.get_xlabel() == "step" and points(axes, "mean")[-1][0] == 200


def test_too_many_trials_are_drawn_by_their_means() -> None:
    record = sweep({"a": [1.0] * (MOST_THIN_LINES + 1)})
    drawing = drawn(record, course(record, 2))["course"]
    assert not lines(drawing.figure.axes[0], "seed") and len(lines(drawing.figure.axes[0], "best")) == 1
    assert f"Only means are drawn, because there are {MOST_THIN_LINES + 1} trials" in drawing.caption


def test_a_collapsed_trial_is_dotted_and_in_no_mean_of_any_figure() -> None:
    runs = [
        finished(row, seed, last__fid=fid, last__epoch=3.0, collapsed="3" if fid > 300 else "")
        for row, fids in {"a": (1.0, 2.0), "b": (3.0, 400.0), "c": (400.0, 401.0)}.items()
        for seed, fid in enumerate(fids)
    ]
    record = make(runs)
    figures = drawn(record, course(record))
    axes = figures["course"].figure.axes[0]
    assert [line.get_linestyle() for line in lines(axes, "seed")] == ["-", "-", "-", ":", ":", ":"]
    assert points(axes, "mean")[3:] == [(0.0, 13.0), (1.0, 12.0), (2.0, 11.0)]
    assert points(figures["dots"].figure.axes[0], "seeds") == [(1.0, 0.0), (2.0, 0.0), (3.0, 1.0)]
    for drawing in figures.values():
        assert "Collapsed, in no mean: b (1), c (2)." in drawing.caption and "nan" not in drawing.alt
    assert "no step in common" not in figures["course"].caption


def test_nothing_is_drawn_where_every_trial_has_collapsed() -> None:
    record = make([finished("a", seed, last__fid=9.0, last__epoch=3.0, collapsed="3") for seed in (0, 1)])
    assert drawn(record, course(record)) == {}
