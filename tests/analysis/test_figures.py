import hashlib
import io
import math
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
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

from analysis.figure_data import Line, pareto_front, row_courses
from analysis.figures import MOST_ROWS_OF_PICTURES, MOST_THIN_LINES, Drawing, draw, to_png, to_svg
from analysis.plot_style import COLORS, INK, LIGHT_INK, axis_limits, needs_log, row_looks, shorten, wrap
from analysis.qualitative import Qualitative
from analysis.records import Setting, SweepRecord

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
    qualitative = Qualitative(0, "a", (picture,), dict.fromkeys(settings, (picture,)), (picture,))
    return draw(record, course(record), {f"of {row}": make(runs, settings=settings)}, qualitative)


def digests(drawings: Iterable[Drawing]) -> list[str]:
    files = [file for drawing in drawings for file in (to_svg(drawing.figure), to_png(drawing.figure))]
    return [hashlib.sha256(file).hexdigest() for file in files]


@pytest.fixture(scope="module")
def hard() -> dict[str, Drawing]:
    return {drawing.name: drawing for drawing in everything(HARD)}


def test_figures_stand_in_the_reports_order(hard: dict[str, Drawing]) -> None:
    names = ["course", "cost", "dots", "curve_temperature", f"tasks_{re.sub('[^A-Za-z0-9]', '_', f'of {HARD}')}"]
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
    looks = row_looks(sweep({"a": [1], "b": [2], "c": [3]}, default="b"))
    assert [row for row, look in looks.items() if look.color == INK] == ["b"]


def test_no_two_of_forty_rows_look_alike() -> None:
    looks = row_looks(sweep({f"row {number}": [1] for number in range(40)}))
    assert len({(look.color, look.marker) for look in looks.values()}) == 40


def test_row_has_one_look_in_every_figure(hard: dict[str, Drawing]) -> None:
    axes = [hard[name].figure.axes[0] for name in ("course", "dots", "curve_temperature")]
    found = [[(line.get_color(), line.get_marker()) for line in lines(each, "mean")] for each in axes]
    of_legend = [(handle.get_color(), handle.get_marker()) for handle in hard["cost"].figure.legends[0].get_lines()]
    assert found[0] == found[1] == found[2] == of_legend


@pytest.mark.parametrize("page", ["#ffffff", DARK_PAGE])
def test_colors_stand_out_from_the_page(page: str) -> None:
    ink = LIGHT_INK if page == DARK_PAGE else INK
    assert all(contrast(color, page) >= 3 for color in COLORS)
    assert contrast(ink, page) >= 7


def contrast(one: str, other: str) -> float:
    """By WCAG 2: of relative luminances."""
    linear = [
        [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(each)] for each in (one, other)
    ]
    low, high = sorted(0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in linear)
    return (high + 0.05) / (low + 0.05)


def test_mean_is_drawn_where_all_seeds_have_a_value() -> None:
    record = sweep({"a": [1, 2]})
    known = course(record).query("seed == 0 or step < 200")
    along, courses = row_courses(record, known)
    assert along == "epoch" and courses["a"].mean == Line([0.0, 1.0], [13.5, 12.5])
    axes = drawn(record, known)["course"].figure.axes[0]
    assert points(axes, "mean") == [(0.0, 13.5), (1.0, 12.5)]


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
    (interval,) = lines(drawing.figure.axes[0], "interval")
    assert set(interval.get_ydata()) == {1}
    assert "A row of one seed has no interval." in drawing.caption


def test_interval_is_students() -> None:
    (left, _), (right, _) = points(drawn(sweep({"a": [10, 11, 12], "b": [20, 0]}))["dots"].figure.axes[0], "interval")[
        :2
    ]
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


def test_cost_prefers_allocated_memory() -> None:
    memory = {"cost__training_peak_allocated_gb": 3.0, "cost__training_peak_live_gb": 2.0}
    (axes,) = drawn(make([finished("a", 0, last__fid=1.0, **memory)]))["cost"].figure.axes
    assert axes.get_xlabel().startswith("CUDA allocated")


def test_one_seed_has_no_error_bar() -> None:
    runs = [finished(row, seed, last__fid=9.0 + seed, cost__seconds_per_iteration=1.0 + seed) for row, seed in TRIALS]
    (axes,) = drawn(make(runs))["cost"].figure.axes
    assert [len(container.lines[2]) for container in axes.containers] == [0, 2]


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


def test_curves_of_fields_that_end_alike_have_names_apart() -> None:
    fields = [(1, 1), (2, 1), (3, 1), (1, 2), (1, 3)]
    figures = curve({f"{row}": {"a.rate": one, "b.rate": two} for row, (one, two) in enumerate(fields)})
    assert list(figures) == ["curve_a_rate", "curve_b_rate"]


def test_tasks_show_the_rows_that_both_have() -> None:
    here, there = sweep({"a": [1, 3], "b": [5, 7]}), sweep({"b": [50, 70], "c": [1, 2]}, task="cats/dogs")
    drawing = drawn(here, **{"cats/dogs": there})["tasks_cats_dogs"]
    (container,) = drawing.figure.axes[0].containers
    assert container.lines[0].get_xydata().tolist() == [[6.0, 60.0]]
    assert legend(drawing.figure) == ["b"]


def test_tasks_without_common_rows_are_not_drawn() -> None:
    assert list(drawn(sweep({"a": [1, 2]}), cats=sweep({"b": [1, 2]}), none=make([{"row": "a", "seed": 0}]))) == [
        "dots"
    ]


def pictures(rows: int, lines_of: int = 6, side: int = 8) -> Drawing:
    shown = tuple(np.full((side, side, 3), at, np.uint8) for at in range(lines_of))
    record = sweep({f"row {row}": [1] for row in range(rows)})
    return draw(
        record, NO_COURSE, {}, Qualitative(4, record.default, shown, {row.row: shown for row in record.rows}, shown)
    )[-1]


def test_pictures_are_four_lines_of_source_rows_and_nearest() -> None:
    drawing = pictures(rows=3)
    axes = drawing.figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["source", "row 0", "row 1", "row 2", "nearest in B"]
    assert len(axes.images) == 4 * 5
    lefts = sorted({image.get_extent()[0] for image in axes.images})
    assert [right - left for left, right in pairwise(lefts)] == pytest.approx([1.0] * 4)


def test_pictures_of_too_many_rows_say_what_is_left_out() -> None:
    drawing = pictures(rows=MOST_ROWS_OF_PICTURES + 3)
    assert len(drawing.figure.axes[0].texts) == MOST_ROWS_OF_PICTURES + 2
    assert f"The first {MOST_ROWS_OF_PICTURES} of {MOST_ROWS_OF_PICTURES + 3} rows." in drawing.caption


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
    names = [f"{letter} " + "long name " * 12 + str(number) for number, letter in enumerate("WMWM")]
    record = sweep({name: [1, 2] for name in names})
    for drawing in draw(record, course(record), {"t": record}, None):
        box = drawing.figure.get_tightbbox()
        width, height = drawing.figure.get_size_inches()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def test_shortened_names_keep_both_ends() -> None:
    assert shorten("abcdefghij", 5) == "ab…ij" and shorten("abcde", 5) == "abcde"
    assert shorten("a\n\x00b", 9) == "a b"


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
