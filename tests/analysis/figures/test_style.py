"""Colours, looks and names of rows, and axes."""

import math
from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from sample_figures import HARD, course, drawn, legend, lines, sweep

from analysis.figures.data import Drawing
from analysis.figures.draw import draw
from analysis.figures.style import (
    COLORS,
    FRONT_POINTS,
    INK,
    LIGHT_INK,
    axis_limits,
    needs_log,
    row_looks,
    shorten,
    tell_apart,
    wrap,
)

DARK_PAGE = "#14171a"


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
    # The Pareto front is a band behind the points, and no line.
    for line in (line for each in axes for line in each.lines if line.get_linewidth() < FRONT_POINTS):
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


def test_axis_of_distances_does_not_go_below_zero() -> None:
    assert axis_limits([1.0, 9.0], [-30.0, 40.0], log=False)[0] == 0
    assert axis_limits([1.0, 100.0], [-30.0, 400.0], log=True)[0] == pytest.approx(0.1)


def test_point_at_zero_is_not_cut() -> None:
    low, high = axis_limits([0.0, 10.0], [-30.0, 40.0], log=False)
    assert -0.1 * high < low < 0


def test_axis_holds_every_point_of_one_value() -> None:
    low, high = axis_limits([5.0], [math.nan], log=False)
    assert low < 5 < high


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
