"""Dot plot and curves: seeds, means and intervals."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest
from sample_figures import drawn, lines, points, sweep
from sample_records import finished, make

from analysis.figures.data import Drawing
from analysis.figures.style import spell
from analysis.records.schema import Setting, SweepRecord


def test_row_without_a_score_is_left_out() -> None:
    record = make([finished("a", 0, last__fid=5.0), finished("b", 0, last__kid=1.0), finished("c", 0, last__fid=7.0)])
    axes = drawn(record)["dots"].figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "c"]
    assert points(axes, "mean") == [(5.0, 0.0), (7.0, 1.0)]


def test_sweeps_first_row_is_at_the_top() -> None:
    axes = drawn(sweep({"z": [1, 2], "a": [3, 4]}))["dots"].figure.axes[0]
    bottom, top = axes.get_ylim()
    assert bottom > top and axes.get_yticklabels()[0].get_text() == "z"


def test_one_seed_has_no_interval() -> None:
    drawing = drawn(sweep({"a": [5], "b": [6, 7, 8]}))["dots"]
    (interval,) = lines(drawing.figure.axes[0], "bar")
    assert set(interval.get_ydata()) == {1}
    assert "Rows with one seed have no interval." in drawing.caption


def test_interval_is_students() -> None:
    axes = drawn(sweep({"a": [10, 11, 12], "b": [20, 0]}))["dots"].figure.axes[0]
    (left, _), (right, _) = points(axes, "bar")[:2]
    assert (left, right) == pytest.approx((11 - 4.3027 / 3**0.5, 11 + 4.3027 / 3**0.5), abs=1e-3)


@pytest.mark.parametrize("scores", [[3, 20], [1, 30]])
def test_clipped_interval_ends_in_arrow_heads_on_the_axis(scores: list[float]) -> None:
    drawing = drawn(sweep({"a": scores, "b": [10, 10.1, 10.2]}))["dots"]
    axes = drawing.figure.axes[0]
    assert points(axes, "arrow") == [(end, 0.0) for end in axes.get_xlim()]
    assert "Arrow heads" in drawing.caption


def test_whole_interval_has_no_arrow_head() -> None:
    drawing = drawn(sweep({"a": [10, 10.1, 10.2], "b": [12, 12.1, 12.2]}))["dots"]
    assert not lines(drawing.figure.axes[0], "arrow") and "Arrow" not in drawing.caption


def test_every_seed_is_seen_beside_the_mean() -> None:
    axes = drawn(sweep({"a": [3, 3, 3], "b": [1, 2, 3]}))["dots"].figure.axes[0]
    for mean, seeds in zip(lines(axes, "mean"), lines(axes, "seeds"), strict=True):
        assert mean.get_marker() == "|" and mean.get_zorder() < seeds.get_zorder()


def test_source_is_a_line_on_the_axis_or_a_note() -> None:
    near, far = (
        drawn(make([finished("a", seed, last__fid=10.0 + seed, source__fid=source) for seed in range(3)]))["dots"]
        for source in (13.0, 900.0)
    )
    assert {x for x, _ in points(near.figure.axes[0], "source")} == {13.0}
    assert not lines(far.figure.axes[0], "source") and "(900) is beyond the axis" in far.caption


def test_dot_plot_grows_with_its_rows() -> None:
    heights = [
        drawn(sweep({f"{row}": [row, 2] for row in range(count)}))["dots"].figure.get_figheight() for count in (3, 30)
    ]
    assert heights[1] - heights[0] > 27 * 0.2


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
    assert {x for x, _ in points(axes, "baseline")} == {0.1}


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


def scored(**of_rows: tuple[float, ...]) -> SweepRecord:
    """Rows with a FID, and with an overlap that is a hundredth of it."""
    runs = [
        finished(row, seed, last__fid=fid, last__object_iou=fid / 100, source__object_iou=0.0)
        for row, fids in of_rows.items()
        for seed, fid in enumerate(fids)
    ]
    return make(runs)


def test_every_content_score_has_dots_with_its_better_side() -> None:
    figures = drawn(scored(a=(50.0, 52.0), b=(60.0, 61.0)))
    assert list(figures) == ["dots", "dots_object_iou"]
    drawing = figures["dots_object_iou"]
    assert "Higher is better." in drawing.caption and "Lower is better." in figures["dots"].caption
    assert drawing.figure.axes[0].get_xlabel() == "overlap (IoU), last ↑"
    assert [x for x, _ in points(drawing.figure.axes[0], "mean")] == pytest.approx([0.51, 0.605])


def test_differences_are_paired_and_have_the_tables_star_and_interval() -> None:
    axes = drawn(scored(a=(50.0, 60.0, 70.0), b=(60.0, 71.0, 80.0), c=(40.0, 65.0, 70.0)))["dots"].figure.axes[1]
    assert points(axes, "seeds") == [(10.0, 1.0), (11.0, 1.0), (10.0, 1.0), (-10.0, 2.0), (5.0, 2.0), (0.0, 2.0)]
    (left, _), (right, _) = points(axes, "bar")[:2]
    half = 4.3027 * 3**-0.5 / 3**0.5
    assert (left, right) == pytest.approx((31 / 3 - half, 31 / 3 + half), abs=1e-3)
    assert [text.xy[1] for text in axes.texts if text.get_text() == "*"] == [1.0]


def test_an_interval_of_differences_is_seen_on_both_sides_of_0() -> None:
    axes = drawn(scored(a=(50.0, 60.0, 70.0), b=(51.0, 65.6, 76.2)))["dots"].figure.axes[1]
    half = 4.3027 * 8.093**0.5 / 3**0.5
    assert min(x for x, _ in points(axes, "bar")) == pytest.approx(12.8 / 3 - half, abs=1e-2)
    assert axes.get_xlim()[0] < 12.8 / 3 - half < 0


def test_a_row_without_a_pair_has_no_difference_and_one_row_no_second_panel() -> None:
    record = make([finished("a", 0, last__fid=1.0), finished("b", 1, last__fid=1.0), finished("c", 0, last__fid=2.0)])
    assert points(drawn(record)["dots"].figure.axes[1], "mean") == [(1.0, 2.0)]
    assert len(drawn(sweep({"a": [1, 2]}))["dots"].figure.axes) == 1
