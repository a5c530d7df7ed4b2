"""Scores against cost, and on two tasks."""

from matplotlib.axes import Axes
from sample_figures import drawn, legend, lines, points, sweep
from sample_records import finished, make

from analysis.figures.data import Drawing, pareto_front

TRIALS = (("one", 0), ("two", 0), ("two", 1))


def test_pareto_front_holds_what_nothing_beats() -> None:
    marks = {"best": (3.0, 1.0), "cheap": (1.0, 5.0), "between": (2.0, 3.0), "beaten": (2.5, 3.0), "twin": (3.0, 1.0)}
    assert pareto_front(marks) == ["cheap", "between", "best", "twin"]


def drawn_bars() -> Axes:
    runs = [finished(row, seed, last__fid=9.0 + seed, cost__seconds_per_iteration=1.0 + seed) for row, seed in TRIALS]
    return drawn(make(runs))["cost"].figure.axes[0]


def test_front_is_a_broad_step_line_through_the_means() -> None:
    costs = {"a": (1.0, 5.0), "b": (2.0, 3.0), "c": (2.5, 4.0)}
    runs = [finished(row, 0, last__fid=fid, cost__training_peak_live_gb=gb) for row, (gb, fid) in costs.items()]
    (axes,) = drawn(make(runs))["cost"].figure.axes
    (front,) = lines(axes, "front")
    right, top = axes.get_xlim()[1], axes.get_ylim()[1]
    assert front.get_drawstyle() == "steps-post"
    # No reader takes it for the bar of a deviation.
    assert front.get_linewidth() > 5 * max(bar.get_linewidth() for bar in lines(drawn_bars(), "bar"))
    assert points(axes, "front") == [(1.0, top), (1.0, 5.0), (2.0, 3.0), (right, 3.0)]


def test_cost_has_a_panel_for_each_that_is_recorded(hard: dict[str, Drawing]) -> None:
    assert len(hard["cost"].figure.axes) == 2
    assert "cost" not in drawn(sweep({"a": [1, 2]}))


def test_cost_counts_the_seeds_of_both_sides() -> None:
    runs = [finished("a", seed, last__fid=9.0) | {"cost/training_peak_live_gb": 2.0} for seed in range(3)]
    assert "(n = 3)" in drawn(make(runs))["cost"].caption
    del runs[0]["cost/training_peak_live_gb"]
    assert "(n = 3 of last FID; 2 of peak memory, GB)" in drawn(make(runs))["cost"].caption


def test_cut_deviation_ends_in_arrow_heads_on_the_axis() -> None:
    runs = [finished("a", at, last__fid=9.0 + 20 * at, cost__seconds_per_iteration=0.1 + at) for at in range(2)]
    drawing = drawn(make([*runs, finished("b", 0, last__fid=20.0, cost__seconds_per_iteration=0.7)]))["cost"]
    (axes,) = drawing.figure.axes
    heads = points(axes, "arrow")
    assert "Arrow heads" in drawing.caption and len(heads) == 4
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
        assert ("Logarithmic axis: seconds per iteration." in drawing.caption) == log


def test_cost_prefers_allocated_memory() -> None:
    memory = {"cost__training_peak_allocated_gb": 3.0, "cost__training_peak_live_gb": 2.0}
    (axes,) = drawn(make([finished("a", 0, last__fid=1.0, **memory)]))["cost"].figure.axes
    assert axes.get_xlabel().startswith("peak CUDA memory allocated")


def test_one_seed_has_no_error_bar() -> None:
    axes = drawn_bars()
    assert len(lines(axes, "means")) == 2 and len(lines(axes, "bar")) == 2


def test_tasks_show_the_rows_that_both_have() -> None:
    here, there = sweep({"a": [1, 3], "b": [5, 7]}), sweep({"b": [50, 70], "c": [1, 2]}, task="cats/dogs")
    drawing = drawn(here, **{"cats/dogs": there})["tasks_cats_dogs"]
    assert points(drawing.figure.axes[0], "means") == [(6.0, 60.0)]
    assert legend(drawing.figure) == ["b"]


def test_tasks_without_common_rows_are_not_drawn() -> None:
    assert list(drawn(sweep({"a": [1, 2]}), cats=sweep({"b": [1, 2]}), none=make([{"row": "a", "seed": 0}]))) == [
        "dots"
    ]
