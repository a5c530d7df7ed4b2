import hashlib
import io
import math
import re
import subprocess
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from sample_records import finished, make

from analysis.figures.data import MOST_ROWS, Line, pareto_front, row_courses
from analysis.figures.draw import MOST_ROWS_OF_PICTURES, MOST_THIN_LINES, Drawing, draw, to_png, to_svg
from analysis.figures.image_grid import Qualitative
from analysis.figures.style import (
    COLORS,
    INK,
    LIGHT_INK,
    axis_limits,
    needs_log,
    row_looks,
    shorten,
    spell,
    tell_apart,
    wrap,
)
from analysis.records.manifest import Setting
from analysis.records.schema import SweepRecord

HARD = r"a$b_c$ \d <x> & -- % τ"
DARK_PAGE = "#14171a"
NO_COURSE = pd.DataFrame(columns=["row", "seed", "step", "epoch", "value"])


def sweep(scores: Mapping[str, Sequence[float]], **fields: object) -> SweepRecord:
    """Rows with these last scores by seed."""
    runs = [finished(row, seed, last__fid=score) for row, of_row in scores.items() for seed, score in enumerate(of_row)]
    return make(runs, **fields)


def course(record: SweepRecord, epochs: int = 3) -> pd.DataFrame:
    """Of all trials, the finished or not: each comes down to its seed plus 10."""
    trials = [(trial["row"], trial["seed"]) for trial in record.trials]
    lines = [
        (row, seed, 100 * at, float(at), 10.0 + seed + epochs - at) for row, seed in trials for at in range(epochs)
    ]
    return pd.DataFrame(lines, columns=NO_COURSE.columns)


def drawn(record: SweepRecord, evaluations: pd.DataFrame = NO_COURSE, **others: SweepRecord) -> dict[str, Drawing]:
    return {drawing.name: drawing for drawing in draw(record, evaluations, others, None)}


def lines(axes: Axes, label: str) -> list[Line2D]:
    return [line for line in axes.lines if line.get_label() == label]


def points(axes: Axes, label: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for line in lines(axes, label) for x, y in line.get_xydata()]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def everything(row: str = "other") -> list[Drawing]:
    """Every kind of figure, of three rows."""
    settings: dict[str, dict[str, Setting]] = {
        name: {"model.temperature": value} for name, value in {"default": 0.01, row: 0.1, "third": 1.0}.items()
    }
    runs = [
        finished(name, seed, last__fid=10.0 + 9 * at + seed, source__fid=30.0)
        | {"cost/training_peak_live_gb": 2.0 + at, "cost/seconds_per_iteration": 0.1 + seed}
        for at, name in enumerate(settings)
        for seed in (0, 1)
    ]
    record = make(runs, settings=settings)
    picture = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    qualitative = Qualitative(0, "a", (picture,), dict.fromkeys(settings, (picture,)), (picture,), 0)
    return draw(record, course(record), {f"of {row}": make(runs, settings=settings)}, qualitative)


def digests(drawings: Iterable[Drawing]) -> list[str]:
    files = [file for drawing in drawings for file in (to_svg(drawing.figure), to_png(drawing.figure))]
    return [hashlib.sha256(file).hexdigest() for file in files]


@pytest.fixture(scope="module")
def hard() -> dict[str, Drawing]:
    return {drawing.name: drawing for drawing in everything(HARD)}


def test_figures_stand_in_the_reports_order(hard: dict[str, Drawing]) -> None:
    names = ["course", "cost", "dots", "curve_temperature", f"tasks_{re.sub('[^A-Za-z0-9τ]', '_', f'of {HARD}')}"]
    assert list(hard) == [*names, "qualitative"]


def test_nothing_is_drawn_where_no_trial_is_finished() -> None:
    record = make([{"row": "a", "seed": 0, "status": "FAILED"}, {"row": "a", "seed": 1, "status": "RUNNING"}])
    assert draw(record, course(record), {}, None) == []


def test_only_finished_trials_are_drawn() -> None:
    failed = {**finished("a", 1, last__fid=99.0), "status": "FAILED"}
    record = make([finished("a", 0, last__fid=5.0), failed, {**failed, "row": "b"}])
    figures = drawn(record, course(record))
    assert points(figures["dots"].figure.axes[0], "seeds") == [(5.0, 0.0)]
    assert len(lines(figures["course"].figure.axes[0], "seed")) == 1
    assert legend(figures["course"].figure) == ["a"]


def test_row_without_a_score_is_left_out() -> None:
    record = make([finished("a", 0, last__fid=5.0), finished("b", 0, last__kid=1.0), finished("c", 0, last__fid=7.0)])
    axes = drawn(record)["dots"].figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "c"]
    assert points(axes, "mean") == [(5.0, 0.0), (7.0, 1.0)]


def test_sweeps_first_row_is_at_the_top() -> None:
    axes = drawn(sweep({"z": [1, 2], "a": [3, 4]}))["dots"].figure.axes[0]
    bottom, top = axes.get_ylim()
    assert bottom > top and axes.get_yticklabels()[0].get_text() == "z"


def test_default_row_alone_is_in_ink() -> None:
    looks = row_looks(["a", "b", "c"], "b")
    assert [row for row, look in looks.items() if look.color == INK] == ["b"]


def test_no_two_of_forty_rows_look_alike() -> None:
    looks = row_looks([f"row {number}" for number in range(40)], "row 0")
    assert len({(look.color, look.marker) for look in looks.values()}) == 40


def test_row_has_one_look_in_every_figure(hard: dict[str, Drawing]) -> None:
    shown = {"course": "mean", "dots": "seeds", "curve_temperature": "seeds", "cost": "means"}
    axes = {name: hard[name].figure.axes[0] for name in shown}
    found = [
        [(line.get_color(), line.get_marker()) for line in lines(axes[name], label)] for name, label in shown.items()
    ]
    of_legend = [(handle.get_color(), handle.get_marker()) for handle in hard["cost"].figure.legends[0].get_lines()]
    assert all(looks == of_legend for looks in found)


@pytest.mark.parametrize("page", ["#ffffff", DARK_PAGE])
def test_colors_stand_out_from_the_page(page: str) -> None:
    ink = LIGHT_INK if page == DARK_PAGE else INK
    assert all(contrast(color, page) >= 3 for color in COLORS)
    assert contrast(ink, page) >= 7


def test_lines_stand_out_from_the_page_blended_as_they_are(hard: dict[str, Drawing]) -> None:
    axes = [axes for drawing in hard.values() for axes in drawing.figure.axes]
    for line in (line for each in axes for line in each.lines):
        for page, ink in (("#ffffff", INK), (DARK_PAGE, LIGHT_INK)):
            alpha, color = line.get_alpha() or 1.0, ink if line.get_color() == INK else line.get_color()
            assert contrast(tuple(alpha * np.array(to_rgb(color)) + (1 - alpha) * np.array(to_rgb(page))), page) >= 3
    (seed, *_), (mean, *_) = (lines(hard["course"].figure.axes[0], label) for label in ("seed", "mean"))
    assert mean.get_linewidth() > 3 * seed.get_linewidth()


# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
SIGHT = {
    "all": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(color: str, sight: object) -> np.ndarray:
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(np.asarray(sight) @ linear, 0, 1) / [0.9505, 1.0, 1.089]
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIGHT.values(), ids=SIGHT)
@pytest.mark.parametrize("ink", [INK, LIGHT_INK])
def test_colors_differ_for_readers_who_see_no_red_or_no_green(sight: object, ink: str) -> None:
    seen = [lab(color, sight) for color in (*COLORS, ink)]
    assert min(np.linalg.norm(one - other) for one, other in combinations(seen, 2)) >= 20


def contrast(one: str | tuple[float, ...], other: str) -> float:
    """By WCAG 2: of relative luminances."""
    linear = [
        [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(each)] for each in (one, other)
    ]
    low, high = sorted(0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in linear)
    return (high + 0.05) / (low + 0.05)


def test_mean_is_drawn_where_all_seeds_have_a_value() -> None:
    record = sweep({"a": [1, 2]})
    known = course(record).query("seed == 0 or step < 200")
    along, courses, _ = row_courses(record, known, ["a"])
    assert along == "epoch" and courses["a"].mean == Line([0.0, 1.0], [13.5, 12.5])
    axes = drawn(record, known)["course"].figure.axes[0]
    assert points(axes, "mean") == [(0.0, 13.5), (1.0, 12.5)]


@pytest.mark.parametrize("seeds", [2, MOST_THIN_LINES + 1])
def test_seeds_without_a_common_step_are_drawn_without_a_mean(seeds: int) -> None:
    record = sweep({"a": [1.0] * seeds})
    known = course(record)
    known["step"] += known["seed"]
    drawing = drawn(record, known)["course"]
    axes = drawing.figure.axes[0]
    assert len(lines(axes, "seed")) == seeds and not lines(axes, "mean")
    assert "Rows whose seeds share no step" in drawing.caption and drawing.alt == "Lines of FID over epoch."


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
    assert row_courses(record, many, ["a"])[1]["a"].mean == Line([0.0, 1.0], [98.0, 99.0])


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan, 1.7976931348623157e308])
def test_values_that_are_not_finite_are_left_out_and_counted(bad: float) -> None:
    record = make([finished("a", seed, last__fid=[5.0, bad][seed], source__fid=9.0) for seed in (0, 1)])
    known = course(record)
    known.loc[0, "value"] = bad
    figures = drawn(record, known, t=record)
    assert "1 value that is not finite is left out." in figures["course"].caption
    assert points(figures["dots"].figure.axes[0], "seeds") == [(5.0, 0.0)]
    if not math.isnan(bad):  # a value that is not recorded is nan as well
        assert "1 value that is not finite is left out." in figures["dots"].caption
        assert "2 values that are not finite are left out." in figures["tasks_t"].caption
    assert drawn(make([finished("a", 0, last__fid=bad)])) == {}


@pytest.mark.parametrize("values", [(5e-324, 1e99), (-1e99, 1e99), (0.0, 1e99), (1e-99, 1e99), (0.0, 0.0)])
def test_no_ratio_of_values_is_too_large_to_draw(values: tuple[float, float]) -> None:
    runs = [
        finished(row, seed, last__fid=value, cost__seconds_per_iteration=value)
        for row, value in zip("ab", values, strict=True)
        for seed in (0, 1)
    ]
    record = make(runs)
    assert list(drawn(record, course(record), t=record)) == ["course", "cost", "dots", "tasks_t"]


def test_of_many_rows_the_default_and_the_best_are_drawn_in_figures_of_bounded_height() -> None:
    scores = {f"model=cut, temperature={row}, layers=all of them": [1000.0 - row, 1001.0 - row] for row in range(300)}
    runs = [
        finished(row, seed, last__fid=score, cost__seconds_per_iteration=score)
        for row, of_row in scores.items()
        for seed, score in enumerate(of_row)
    ]
    record = make(runs)
    figures = drawn(record, course(record), t=record)
    figures.pop("curve_number")  # of all rows
    names = [label.get_text() for label in figures["dots"].figure.axes[0].get_yticklabels()]
    assert names == [f"…temperature={row}, …" for row in (0, *range(300 - MOST_ROWS + 1, 300))]
    for name, drawing in figures.items():
        assert "The default and the best 39 of 300 rows." in drawing.caption
        assert drawing.figure.get_figheight() <= 10
        assert name == "dots" or len(set(legend(drawing.figure))) == MOST_ROWS


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
    assert f"Only means, since {MOST_THIN_LINES + 1} trials" in drawing.caption


@pytest.mark.parametrize(("values", "log"), [([1, 20], False), ([1, 20.1], True), ([0, 50], False), ([-1, 50], False)])
def test_axis_is_logarithmic_beyond_a_factor_of_20(values: list[float], log: bool) -> None:
    assert needs_log(values) == log
    axes = drawn(sweep({"a": values, "b": [2]}))["dots"].figure.axes[0]
    assert axes.get_xscale() == ("log" if log else "linear")


def test_logarithmic_axis_is_labelled_in_plain_numbers() -> None:
    record = sweep({"a": [1, 150], "b": [2, 3]})
    figure = drawn(record)["dots"].figure
    figure.draw_without_rendering()
    shown = {label.get_text() for label in figure.axes[0].get_xticklabels()}
    assert {"1", "10", "100"} <= shown and not any("$" in label for label in shown)


def test_one_seed_has_no_interval() -> None:
    drawing = drawn(sweep({"a": [5], "b": [6, 7, 8]}))["dots"]
    (interval,) = lines(drawing.figure.axes[0], "bar")
    assert set(interval.get_ydata()) == {1}
    assert "A row of one seed has no interval." in drawing.caption


def test_interval_is_students() -> None:
    axes = drawn(sweep({"a": [10, 11, 12], "b": [20, 0]}))["dots"].figure.axes[0]
    (left, _), (right, _) = points(axes, "bar")[:2]
    assert (left, right) == pytest.approx((11 - 4.3027 / 3**0.5, 11 + 4.3027 / 3**0.5), abs=1e-3)


@pytest.mark.parametrize("scores", [[3, 20], [1, 30]])
def test_clipped_interval_ends_in_arrow_heads_on_the_axis(scores: list[float]) -> None:
    drawing = drawn(sweep({"a": scores, "b": [10, 10.1, 10.2]}))["dots"]
    axes = drawing.figure.axes[0]
    assert points(axes, "arrow") == [(end, 0.0) for end in axes.get_xlim()]
    assert "An arrow head" in drawing.caption


def test_whole_interval_has_no_arrow_head() -> None:
    drawing = drawn(sweep({"a": [10, 10.1, 10.2], "b": [12, 12.1, 12.2]}))["dots"]
    assert not lines(drawing.figure.axes[0], "arrow") and "arrow" not in drawing.caption


def test_axis_of_distances_does_not_go_below_zero() -> None:
    assert axis_limits([1.0, 9.0], [-30.0, 40.0], log=False)[0] == 0
    assert axis_limits([1.0, 100.0], [-30.0, 400.0], log=True)[0] == pytest.approx(0.1)


def test_point_at_zero_is_not_cut() -> None:
    low, high = axis_limits([0.0, 10.0], [-30.0, 40.0], log=False)
    assert -0.1 * high < low < 0


def test_every_seed_is_seen_beside_the_mean() -> None:
    axes = drawn(sweep({"a": [3, 3, 3], "b": [1, 2, 3]}))["dots"].figure.axes[0]
    for mean, seeds in zip(lines(axes, "mean"), lines(axes, "seeds"), strict=True):
        assert mean.get_marker() == "|" and mean.get_zorder() < seeds.get_zorder()


def test_axis_holds_every_point_of_one_value() -> None:
    low, high = axis_limits([5.0], [math.nan], log=False)
    assert low < 5 < high


def test_source_is_a_line_on_the_axis_or_a_note() -> None:
    near, far = (
        drawn(make([finished("a", seed, last__fid=10.0 + seed, source__fid=source) for seed in range(3)]))["dots"]
        for source in (13.0, 900.0)
    )
    assert {x for x, _ in points(near.figure.axes[0], "source")} == {13.0}
    assert not lines(far.figure.axes[0], "source") and "900, lies beyond the axis" in far.caption


def test_dot_plot_grows_with_its_rows() -> None:
    heights = [
        drawn(sweep({f"{row}": [row, 2] for row in range(count)}))["dots"].figure.get_figheight() for count in (3, 30)
    ]
    assert heights[1] - heights[0] > 27 * 0.2


def test_pareto_front_holds_what_nothing_beats() -> None:
    marks = {"best": (3.0, 1.0), "cheap": (1.0, 5.0), "between": (2.0, 3.0), "beaten": (2.5, 3.0), "twin": (3.0, 1.0)}
    assert pareto_front(marks) == ["cheap", "between", "best", "twin"]


def test_front_is_a_step_line_through_the_means() -> None:
    costs = {"a": (1.0, 5.0), "b": (2.0, 3.0), "c": (2.5, 4.0)}
    runs = [finished(row, 0, last__fid=fid, cost__training_peak_live_gb=gb) for row, (gb, fid) in costs.items()]
    (axes,) = drawn(make(runs))["cost"].figure.axes
    (front,) = lines(axes, "front")
    right, top = axes.get_xlim()[1], axes.get_ylim()[1]
    assert front.get_drawstyle() == "steps-post"
    assert points(axes, "front") == [(1.0, top), (1.0, 5.0), (2.0, 3.0), (right, 3.0)]


def test_cost_has_a_panel_for_each_that_is_recorded(hard: dict[str, Drawing]) -> None:
    assert len(hard["cost"].figure.axes) == 2
    assert "cost" not in drawn(sweep({"a": [1, 2]}))


def test_cost_counts_the_seeds_of_both_sides() -> None:
    runs = [finished("a", seed, last__fid=9.0) | {"cost/training_peak_live_gb": 2.0} for seed in range(3)]
    assert "(n = 3)" in drawn(make(runs))["cost"].caption
    del runs[0]["cost/training_peak_live_gb"]
    assert "(n = 3 of last FID; 2 of live tensors in training, peak GB)" in drawn(make(runs))["cost"].caption


def test_cut_deviation_ends_in_arrow_heads_on_the_axis() -> None:
    runs = [finished("a", at, last__fid=9.0 + 20 * at, cost__seconds_per_iteration=0.1 + at) for at in range(2)]
    drawing = drawn(make([*runs, finished("b", 0, last__fid=20.0, cost__seconds_per_iteration=0.7)]))["cost"]
    (axes,) = drawing.figure.axes
    heads = points(axes, "arrow")
    assert "An arrow head" in drawing.caption and len(heads) == 4
    assert {x for x, _ in heads} >= set(axes.get_xlim()) and {y for _, y in heads} >= set(axes.get_ylim())


def test_cost_is_logarithmic_beyond_a_factor_of_20_and_never_below_zero() -> None:
    for most, log in ((1.0, False), (5.0, True)):
        costs = {"a": (0.1, 0.1), "b": (most, most / 9)}
        runs = [
            finished(r, s, last__fid=1.0, cost__seconds_per_iteration=c[s]) for r, c in costs.items() for s in (0, 1)
        ]
        drawing = drawn(make(runs))["cost"]
        (axes,) = drawing.figure.axes
        assert axes.get_xscale() == ("log" if log else "linear") and axes.get_xlim()[0] >= 0
        assert ("On a logarithmic axis: seconds per iteration." in drawing.caption) == log


def test_cost_prefers_allocated_memory() -> None:
    memory = {"cost__training_peak_allocated_gb": 3.0, "cost__training_peak_live_gb": 2.0}
    (axes,) = drawn(make([finished("a", 0, last__fid=1.0, **memory)]))["cost"].figure.axes
    assert axes.get_xlabel().startswith("CUDA allocated")


def test_one_seed_has_no_error_bar() -> None:
    runs = [finished(row, seed, last__fid=9.0 + seed, cost__seconds_per_iteration=1.0 + seed) for row, seed in TRIALS]
    (axes,) = drawn(make(runs))["cost"].figure.axes
    assert len(lines(axes, "means")) == 2 and len(lines(axes, "bar")) == 2


TRIALS = (("one", 0), ("two", 0), ("two", 1))


def curve(settings: Mapping[str, dict[str, Setting]]) -> dict[str, Drawing]:
    figures = drawn(sweep({row: [10.0 + at, 12.0 + at] for at, row in enumerate(settings)}, settings=dict(settings)))
    return {name: drawing for name, drawing in figures.items() if name.startswith("curve_")}


def test_curve_goes_through_rows_that_differ_in_nothing_else() -> None:
    rows = {"a": (0.1, 1), "b": (1.0, 1), "c": (0.01, 1), "d": (5.0, 2)}
    figures = curve({row: {"model.temperature": value, "model.n": n} for row, (value, n) in rows.items()})
    assert list(figures) == ["curve_temperature"]
    axes = figures["curve_temperature"].figure.axes[0]
    assert points(axes, "means") == [(0.01, 13.0), (0.1, 11.0), (1.0, 12.0)]
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "temperature τ"
    assert {x for x, _ in points(axes, "default")} == {0.1}


@pytest.mark.parametrize("values", [(1, 2, 2), (True, False, 2), ("1", "2", "3"), (1, 2, None)])
def test_curve_needs_three_numbers(values: Sequence[Setting]) -> None:
    assert not curve({f"{row}": {"model.n": value} for row, value in enumerate(values)})


@pytest.mark.parametrize("values", [(1, 2, 9), (0, 1, 100)])
def test_curves_axis_is_linear_within_one_power_of_ten_or_from_zero(values: Sequence[Setting]) -> None:
    (drawing,) = curve({f"{row}": {"model.n": value} for row, value in enumerate(values)}).values()
    assert drawing.figure.axes[0].get_xscale() == "linear"


def test_curves_ticks_are_told_apart_and_do_not_overlap() -> None:
    assert spell([0.1, 1.0, 1e-7]) == ["0.1", "1", "1e-07"]
    assert spell([12345678.0, 12345680.0]) == ["12345678", "12345680"]
    for values in ([0.0001, 0.00012, 0.00015], [12345678, 12345680, 12345800], [1, 1.000001, 1.1, 1.2, 100]):
        (drawing,) = curve({f"{row}": {"model.n": value} for row, value in enumerate(values)}).values()
        drawing.figure.draw_without_rendering()
        boxes = [label.get_window_extent() for label in drawing.figure.axes[0].get_xticklabels()]
        assert len(boxes) > 1 and all(one.x1 < other.x0 for one, other in pairwise(boxes))


def test_curves_of_fields_that_end_alike_have_names_apart() -> None:
    fields = [(1, 1), (2, 1), (3, 1), (1, 2), (1, 3)]
    figures = curve({f"{row}": {"a.rate": one, "b.rate": two} for row, (one, two) in enumerate(fields)})
    assert list(figures) == ["curve_a_rate", "curve_b_rate"]


def test_tasks_show_the_rows_that_both_have() -> None:
    here, there = sweep({"a": [1, 3], "b": [5, 7]}), sweep({"b": [50, 70], "c": [1, 2]}, task="cats/dogs")
    drawing = drawn(here, **{"cats/dogs": there})["tasks_cats_dogs"]
    assert points(drawing.figure.axes[0], "means") == [(6.0, 60.0)]
    assert legend(drawing.figure) == ["b"]


def test_no_two_figures_have_one_name() -> None:
    record = sweep({"a": [1, 2]})
    names = list(drawn(record, NO_COURSE, **dict.fromkeys(("猫", "狗", "🐱", "🐶", "a b", "a/b"), record)))
    assert names == ["dots", "tasks_猫", "tasks_狗", "tasks__", "tasks___2", "tasks_a_b", "tasks_a_b_2"]


def test_letters_without_a_glyph_give_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for drawing in drawn(sweep({"猫 🐱": [1, 2]})).values():
            to_png(drawing.figure), to_svg(drawing.figure)


def test_tasks_without_common_rows_are_not_drawn() -> None:
    assert list(drawn(sweep({"a": [1, 2]}), cats=sweep({"b": [1, 2]}), none=make([{"row": "a", "seed": 0}]))) == [
        "dots"
    ]


def pictures(rows: int, lines_of: int = 6, side: int = 8, default: int = 0, left_out: int = 0) -> Drawing:
    shown = tuple(np.full((side, side, 3), at, np.uint8) for at in range(lines_of))
    outputs = {f"row {row}": shown for row in range(rows)}
    qualitative = Qualitative(4, f"row {default}", shown, outputs, shown, left_out)
    return draw(sweep({"a": [1]}), NO_COURSE, {}, qualitative)[-1]


def test_pictures_are_four_lines_of_source_rows_and_nearest() -> None:
    drawing = pictures(rows=3)
    axes = drawing.figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["source", "row 0", "row 1", "row 2", "nearest in B"]
    assert len(axes.images) == 4 * 5
    lefts = sorted({image.get_extent()[0] for image in axes.images})
    assert [right - left for left, right in pairwise(lefts)] == pytest.approx([1.0] * 4)


@pytest.mark.parametrize(
    ("rows", "left_out", "said"),
    [(3, 0, ""), (3, 1, "1 of the sweep's rows is not shown."), (13, 2, "5 of the sweep's rows are not shown.")],
)
def test_pictures_say_how_many_rows_are_not_shown(rows: int, left_out: int, said: str) -> None:
    drawing = pictures(rows, left_out=left_out)
    assert len(drawing.figure.axes[0].texts) == min(rows, MOST_ROWS_OF_PICTURES) + 2
    assert drawing.caption.endswith(said) and ("not shown" in drawing.caption) == bool(said)


def test_default_row_is_among_the_pictures() -> None:
    heads = [text.get_text() for text in pictures(rows=13, default=12).figure.axes[0].texts]
    assert heads[-3:] == ["row 8", "row 12", "nearest\nin B"]


@pytest.mark.parametrize(("side", "kept"), [(64, True), (128, False)])
def test_small_pictures_keep_their_pixels(side: int, kept: bool) -> None:
    (image, *_) = pictures(rows=1, lines_of=1, side=side).figure.axes[0].images
    assert (image.get_interpolation() == "nearest") == kept


def test_names_are_drawn_as_they_are(hard: dict[str, Drawing]) -> None:
    assert HARD in [label.get_text() for label in hard["dots"].figure.axes[0].get_yticklabels()]
    assert HARD in legend(hard["cost"].figure)
    for drawing in hard.values():
        texts = drawing.figure.findobj(matplotlib.text.Text)
        assert not any(text.get_parse_math() for text in texts if "$" in text.get_text())


def test_no_name_is_cut_by_the_figures_edge() -> None:
    names = [f"{letter} " + f"long_name{letter}" * 12 + str(number) for number, letter in enumerate("WMWM")]
    record = sweep({name: [1, 2] for name in names})
    for drawing in draw(record, course(record), {"t": record}, None):
        box = drawing.figure.get_tightbbox()
        width, height = drawing.figure.get_size_inches()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def test_shortened_names_keep_both_ends() -> None:
    assert shorten("abcdefghij", 5) == "ab…ij" and shorten("abcde", 5) == "abcde"
    assert shorten("a\n\x00b", 9) == "a b"


def test_long_names_that_differ_in_the_middle_are_told_apart() -> None:
    names = [f"model=cut,temperature={value},queue=False,patches=256,w=1" for value in (0.01, 0.02, 0.03)]
    assert tell_apart(["short", *names], 40) == ["short", *(f"…temperature={value},…" for value in (0.01, 0.02, 0.03))]
    assert tell_apart(["x" * 90, "x" * 50 + "y" + "x" * 39, "a\nb", "a b"], 9) == [
        "xxxx…xxxx",
        "xx…xx (2)",
        "a b",
        "a b (2)",
    ]
    same = tell_apart([f"{'x' * 40}{number}{'x' * 40}" for number in range(1000, 2000)], 30)
    assert len(set(same)) == 1000 and max(map(len, same)) <= 30


def test_wrapped_names_keep_their_box() -> None:
    wrapped = wrap("of many words and a verylongoneattheend " * 5, 9, 4).split("\n")
    assert len(wrapped) <= 4 and max(map(len, wrapped)) <= 9


def test_another_process_gives_the_same_bytes_without_pyplot(hard: dict[str, Drawing]) -> None:
    here = Path(__file__).parent
    code = f"import sys; sys.path[:0] = [{str(here)!r}, {str(here.parents[1])!r}]; import test_figures as its; "
    code += "print('matplotlib.pyplot' in sys.modules, *its.digests(its.everything(its.HARD)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", *digests(hard.values())]


def test_writing_again_gives_the_same_bytes(hard: dict[str, Drawing]) -> None:
    assert digests([hard["cost"]]) == digests([hard["cost"]])


def test_users_own_settings_change_nothing() -> None:
    record = sweep({"a": [1, 2]})
    plain = to_svg(drawn(record)["dots"].figure)
    with matplotlib.rc_context({"font.size": 20, "axes.grid": False, "text.parse_math": True}):
        before = dict(matplotlib.rcParams)
        assert to_svg(drawn(record)["dots"].figure) == plain
        assert dict(matplotlib.rcParams) == before


def test_svg_is_text_as_outlines_without_a_date(hard: dict[str, Drawing]) -> None:
    for drawing in hard.values():
        root = ElementTree.fromstring(to_svg(drawing.figure))
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert root.tag.endswith("svg") and "text" not in tags and "metadata" not in tags


def test_dark_svg_differs_in_ink_alone(hard: dict[str, Drawing]) -> None:
    for drawing in hard.values():
        light, dark = to_svg(drawing.figure), to_svg(drawing.figure, dark=True)
        assert INK.encode() in light and INK.encode() not in dark
        assert re.sub(LIGHT_INK.encode(), INK.encode(), dark) == light
        # Every use of the ink's value is a color, and nothing is left in black, which no dark page shows.
        assert light.count(INK.encode()) == len(re.findall(rf"(?:fill|stroke): {INK}\b".encode(), light))
        assert b"#000000" not in light


def test_png_has_200_dots_an_inch_on_white(hard: dict[str, Drawing]) -> None:
    with Image.open(io.BytesIO(to_png(hard["dots"].figure))) as image:
        assert image.size == tuple(int(side * 200) for side in hard["dots"].figure.get_size_inches())
        assert image.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)
        assert set(image.info) == {"dpi"}
