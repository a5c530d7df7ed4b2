"""From a sweep's records to its figures; pure, and without pyplot, so that it may run in a thread beside training."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.columns import COLUMN_OF
from analysis.estimates import by_row, summary
from analysis.figure_data import (
    IN_INK,
    LOG,
    Drawing,
    Scored,
    count_seeds,
    file_stem,
    paired,
    pareto_front,
    row_courses,
    scored,
)
from analysis.interval_figures import draw_curves, draw_dots
from analysis.plot_style import (
    INK,
    LETTER,
    NARROW,
    WIDTH,
    Look,
    add_legend,
    axis_limits,
    drawing_style,
    freeze,
    legend_height,
    mark_best,
    mark_deviation,
    needs_log,
    row_looks,
    scale_x,
    scale_y,
    shorten,
    spread_limits,
    to_png,
    to_svg,
    wrap,
)
from analysis.qualitative import Qualitative
from analysis.records import SweepRecord

# The first of these that is recorded.
MEMORY = ("cost/training_peak_allocated_gb", "cost/training_peak_live_gb")
SPEED = "cost/seconds_per_iteration"
MOST_THIN_LINES = 60
MOST_PICTURES = 4
MOST_ROWS_OF_PICTURES = 10
GAP = 0.02  # of a picture's side

__all__ = ["Drawing", "draw", "to_png", "to_svg"]


def draw(
    record: SweepRecord, course: pd.DataFrame, others: Mapping[str, SweepRecord], qualitative: Qualitative | None
) -> list[Drawing]:
    """Every figure that the records support, in the report's order; none where no trial is finished.

    course: row, seed, step, epoch (nan where not recorded) and value of each evaluation by the main score.
    others: the same sweep's records on other tasks.
    """
    drawings: list[Drawing] = []
    looks = row_looks(record)
    with drawing_style():
        if (its := scored(record)) is not None:
            drawings += _draw_course(its, looks, course)
            drawings += _draw_cost(its, looks)
            drawings += [draw_dots(its, looks)]
            drawings += draw_curves(its, looks)
            for task, other in others.items():
                drawings += _draw_tasks(its, looks, task, scored(other))
        if qualitative is not None and qualitative.inputs:
            drawings += [_draw_qualitative(qualitative)]
        for drawing in drawings:
            freeze(drawing.figure)
    return drawings


def _draw_course(its: Scored, looks: Mapping[str, Look], course: pd.DataFrame) -> list[Drawing]:
    along, courses = row_courses(its.record, course)
    if not courses:
        return []
    trials = sum(len(of_row.seeds) for of_row in courses.values())
    drawn = [looks[row] for row in courses]
    figure = Figure((WIDTH, 3.0 + legend_height(drawn, WIDTH)), layout="constrained")
    axes = figure.subplots()
    for row, of_row in courses.items():
        look, mean = looks[row], of_row.mean
        for seed in of_row.seeds if trials <= MOST_THIN_LINES else []:
            axes.plot(seed.x, seed.y, color=look.color, linewidth=0.6, alpha=0.55, zorder=1.5, label="seed")
            mark_best(axes, *seed.best, look)
        if trials > MOST_THIN_LINES and mean.x:
            mark_best(axes, *mean.best, look)
        bold = axes.plot(mean.x, mean.y, color=look.color, linestyle=look.line, linewidth=1.5, label="mean")
        bold[0].set(marker=look.marker, markersize=3.5, markevery=max(1, len(mean.x) // 8))
        # The row that the others are compared with lies on top.
        bold[0].set(zorder=3 if row == its.record.default else 2)
    lines = [line for of_row in courses.values() for line in (of_row.mean, *of_row.seeds)]
    log = needs_log(value for line in lines for value in line.y)
    if log:
        scale_y(axes, axis_limits([y for line in lines for y in line.y], log=True), log=True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(along)
    axes.set_ylabel(f"{its.label} ↓")
    add_legend(figure, drawn, lines=True)
    what = (
        "Thin: each seed; bold: the mean, where all seeds of a row have a value; a star: a seed's best evaluation."
        if trials <= MOST_THIN_LINES
        else f"Only means, since {trials} trials are too many to draw each; a star: a row's best mean."
    )
    best = {row: of_row.mean.best for row, of_row in courses.items() if of_row.mean.x}
    named = "; ".join(f"{row} {y:.3g} at {along} {x:.4g}" for row, (x, y) in best.items())
    return [
        Drawing(
            "course",
            f"{its.label} over training",
            f"{its.label} over training; lower is better. {what} {IN_INK}{LOG if log else ''}",
            f"Lines of {its.label} over {along}. Lowest means: {named}.",
            figure,
        )
    ]


def _draw_cost(its: Scored, looks: Mapping[str, Look]) -> list[Drawing]:
    memory = [metric for metric in MEMORY if metric in its.values][:1]
    costs = [*memory, *(metric for metric in (SPEED,) if metric in its.values)]
    panels = {COLUMN_OF[metric].label: paired(by_row(summary(its.values, metric)), its.means) for metric in costs}
    panels = {label: pairs for label, pairs in panels.items() if pairs}
    if not panels:
        return []
    means = {row: mean for row, mean in its.means.items() if any(row in pairs for pairs in panels.values())}
    drawn = [looks[row] for row in means]
    width = WIDTH if len(panels) > 1 else NARROW
    figure = Figure((width, 2.6 + legend_height(drawn, width)), layout="constrained")
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    log = needs_log(mean.mean for mean in means.values())
    low, high = spread_limits(means.values(), log=log)
    scale_y(all_axes[0], (low, high), log=log)
    all_axes[0].set_ylabel(f"{its.label}, last ↓")
    fronts: list[str] = []
    for axes, (label, pairs) in zip(all_axes, panels.items(), strict=True):
        for row, pair in pairs.items():
            mark_deviation(axes, *pair, looks[row])
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel(f"{label} ↓")
        front = pareto_front({row: (cost.mean, score.mean) for row, (cost, score) in pairs.items()})
        x, y = [pairs[row][0].mean for row in front], [pairs[row][1].mean for row in front]
        left, right = axes.get_xlim()
        step = axes.plot([x[0], *x, right], [high, *y, y[-1]], color=INK, drawstyle="steps-post", label="front")
        step[0].set(linewidth=0.8, alpha=0.5, zorder=1)
        axes.set_xlim(left, right)
        axes.set_ylim(low, high)
        fronts.append(f"{label}: {', '.join(front)}")
    add_legend(figure, drawn, lines=False)
    return [
        Drawing(
            "cost",
            f"{its.label} against cost",
            f"The last {its.label} against what training costs; lower is better in both. Means over seeds "
            f"({count_seeds(means)}) ± one standard deviation. The step line is the Pareto front: the rows that no "
            f"other row's means beat in both. {IN_INK}{LOG if log else ''}",
            f"Scatter of the last {its.label} against cost. On the front for {'; for '.join(fronts)}.",
            figure,
        )
    ]


def _draw_tasks(its: Scored, looks: Mapping[str, Look], task: str, other: Scored | None) -> list[Drawing]:
    pairs = paired(other.means, its.means) if other is not None else {}
    if other is None or not pairs:
        return []
    drawn = [looks[row] for row in pairs]
    here, there = {row: its.means[row] for row in pairs}, {row: other.means[row] for row in pairs}
    figure = Figure((NARROW, 3.0 + legend_height(drawn, NARROW)), layout="constrained")
    axes = figure.subplots()
    for row in pairs:
        mark_deviation(axes, here[row], there[row], looks[row])
    log_x, log_y = needs_log(x.mean for x in here.values()), needs_log(y.mean for y in there.values())
    scale_x(axes, spread_limits(here.values(), log=log_x), log=log_x)
    scale_y(axes, spread_limits(there.values(), log=log_y), log=log_y)
    axes.set_xlabel(f"{its.label} on {shorten(its.record.task, 40)}, last ↓")
    axes.set_ylabel(f"{other.label} on {shorten(task, 25)}, last ↓")
    add_legend(figure, drawn, lines=False)
    named = "; ".join(f"{row} {here[row].mean:.3g} and {there[row].mean:.3g}" for row in pairs)
    return [
        Drawing(
            f"tasks_{file_stem(task)}",
            f"{its.record.task} and {task}",
            f"Each row on both tasks; lower is better. Means over seeds ({count_seeds(here)} on {its.record.task}, "
            f"{count_seeds(there)} on {task}) ± one standard deviation. {IN_INK}{LOG if log_x or log_y else ''}",
            f"Scatter of {its.label} on {its.record.task} and {other.label} on {task}. Means: {named}.",
            figure,
        )
    ]


def _draw_qualitative(qualitative: Qualitative) -> Drawing:
    rows = list(qualitative.outputs)[:MOST_ROWS_OF_PICTURES]
    columns = [qualitative.inputs, *(qualitative.outputs[row] for row in rows), qualitative.neighbours]
    lines = min(MOST_PICTURES, len(qualitative.inputs))
    height, width = qualitative.inputs[0].shape[:2]
    side = min(1.3, WIDTH / len(columns))
    letters = int(side / LETTER)
    heads = [wrap(head, letters, 4) for head in ("source", *rows, "nearest in B")]
    above = 0.15 * max(1 + head.count("\n") for head in heads) + 0.05
    figure = Figure((side * len(columns), side * height / width * lines + above))
    # One axes with all pictures: their places are then exact, and it is fast.
    axes = figure.add_axes((0, 0, 1, 1 - above / figure.get_figheight()))
    axes.set_axis_off()
    for x, (head, pictures) in enumerate(zip(heads, columns, strict=True)):
        axes.annotate(head, (x + 0.5, 0), (0, 2), "data", "offset points", ha="center", va="bottom")
        for y, picture in enumerate(pictures[:lines]):
            axes.imshow(
                picture,
                extent=(x + GAP, x + 1 - GAP, y + 1 - GAP, y + GAP),
                interpolation="nearest" if min(picture.shape[:2]) < 128 else "antialiased",
                aspect=height / width,
            )
    axes.set_xlim(0, len(columns))
    axes.set_ylim(lines, 0)
    left_out = len(qualitative.outputs) > len(rows)
    return Drawing(
        "qualitative",
        "The same images by every row",
        f"Test images of A as each row translates them (seed {qualitative.seed}, last evaluation), and the neighbour "
        f"in B of the translation by “{qualitative.neighbour_of}”, by the features of the metric."
        f"{f' The first {len(rows)} of {len(qualitative.outputs)} rows.' if left_out else ''}",
        f"Grid of {lines} test images in {len(columns)} columns: source; {'; '.join(rows)}; nearest in B.",
        figure,
    )
