"""Which figures are drawn, of which rows and trials."""

import math
import re

import pytest
from sample_figures import HARD, NO_COURSE, course, drawn, legend, lines, points, sweep
from sample_records import finished, make

from analysis.figures.data import MOST_ROWS, Drawing
from analysis.figures.draw import draw


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


def test_values_that_are_not_finite_are_left_out_and_counted() -> None:
    record = make([finished("a", seed, last__fid=[5.0, math.nan][seed], source__fid=9.0) for seed in (0, 1)])
    known = course(record)
    known.loc[0, "value"] = math.nan
    figures = drawn(record, known, t=record)
    assert "Not finite, left out: 1 value." in figures["course"].caption
    assert points(figures["dots"].figure.axes[0], "seeds") == [(5.0, 0.0)]
    assert drawn(make([finished("a", 0, last__fid=math.nan)])) == {}


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
        assert "Shown: the baseline and the best 39 of 300 rows." in drawing.caption
        assert drawing.figure.get_figheight() <= 10
        assert name == "dots" or len(set(legend(drawing.figure))) == MOST_ROWS


def test_no_two_figures_have_one_name() -> None:
    record = sweep({"a": [1, 2]})
    names = list(drawn(record, NO_COURSE, **dict.fromkeys(("猫", "狗", "🐱", "🐶", "a b", "a/b"), record)))
    assert names == ["dots", "tasks_猫", "tasks_狗", "tasks__", "tasks___2", "tasks_a_b", "tasks_a_b_2"]
