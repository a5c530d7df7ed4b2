"""Draw a sweep's figures from its records; pure, and without pyplot, so that any thread may run it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.data import (
    MOST_ROWS,
    Drawing,
    ScoredSweep,
    best_rows,
    content_sweeps,
    count_seeds,
    file_stem,
    paired,
    pareto_front,
    remarks,
    row_courses,
    score_sweep,
)
from analysis.figures.image_grid import Qualitative
from analysis.figures.intervals import draw_curves, draw_dots
from analysis.figures.qualitative import draw_qualitative
from analysis.figures.style import (
    FRONT_POINTS,
    INK,
    LEGEND_MANY,
    NARROW,
    WIDTH,
    Along,
    Look,
    add_legend,
    axis_limits,
    drawing_style,
    mark_bar,
    mark_best,
    needs_log,
    row_looks,
    scale,
    tell_apart,
)
from analysis.records.names import MEMORY_METRICS, SECONDS_PER_ITERATION
from analysis.records.schema import SweepRecord
from analysis.statistics.collapse import has_collapsed
from analysis.statistics.estimates import Estimate, summary
from analysis.tables.columns import column_of

MOST_THIN_LINES = 60


def draw(
    record: SweepRecord, course: pd.DataFrame, others: Mapping[str, SweepRecord], qualitative: Qualitative | None
) -> list[Drawing]:
    """Return every figure that the records support, in the report's order; none where no trial is finished.

    course: row, seed, step, epoch (nan if not recorded) and value of each evaluation by the main score.
    others: the same sweep's records on other tasks.
    """
    drawings: list[Drawing] = []
    with drawing_style():
        if (sweep := score_sweep(record)) is not None:
            best = best_rows(sweep)
            # Rows that only curves show come last, so that the looks of the others are all different.
            rows = sorted(
                (row.row for row in record.rows), key=lambda row: row in sweep.means and row not in best.means
            )
            looks = row_looks(rows, record.default)
            drawings += _draw_course(best, looks, course)
            drawings += _draw_cost(best, looks)
            drawings += [draw_dots(one, looks) for one in (best, *content_sweeps(best))]
            drawings += draw_curves(sweep, looks)
            for task, other in others.items():
                drawings += _draw_tasks(best, looks, task, score_sweep(other))
        if qualitative is not None and qualitative.inputs:
            drawings += [draw_qualitative(qualitative)]
        for drawing in drawings:
            # A fixed layout, so that every file of the figure, in any format, has the same.
            drawing.figure.draw_without_rendering()
            drawing.figure.set_layout_engine("none")
    named: dict[str, Drawing] = {}
    for drawing in drawings:
        spare = (drawing.name, *(f"{drawing.name}_{number}" for number in range(2, len(drawings) + 1)))
        name = next(name for name in spare if name not in named)
        named[name] = replace(drawing, name=name)
    return list(named.values())


def _draw_course(sweep: ScoredSweep, looks: Mapping[str, Look], course: pd.DataFrame) -> list[Drawing]:
    # In a sweep of few rows, a row without a last score has a course, too.
    rows = sweep.means if len(sweep.record.rows) > MOST_ROWS else looks
    along, courses, dropped = row_courses(sweep.record, course, rows)
    if not courses:
        return []
    trials = sum(of_row.shape[1] for of_row in courses.values())
    few = trials <= MOST_THIN_LINES
    collapsed = {(trial["row"], trial["seed"]) for trial in sweep.record.finished if has_collapsed(trial)}
    counted = {
        row: of_row[[seed for seed in of_row if (row, seed) not in collapsed]] for row, of_row in courses.items()
    }
    # A row of which every trial has collapsed has no mean.
    means = {row: of_row.dropna().mean(axis="columns").dropna() for row, of_row in counted.items()}
    drawn = [looks[row] for row in courses]
    figure = Figure((WIDTH, 3.0), layout="constrained")
    axes = figure.subplots()
    for row, of_row in courses.items():
        look, mean = looks[row], means[row]
        for name, seed in of_row.items() if few or mean.empty else ():
            seed = seed.dropna()
            thin = axes.plot(seed.index, seed, color=look.color, linewidth=0.5, zorder=1.5, label="seed")
            if len(seed) == 1:
                thin[0].set(marker=look.marker, markersize=3.5)
            elif (row, name) in collapsed:
                thin[0].set(linestyle=":", linewidth=0.9)
            else:
                mark_best(axes, seed, look)
        if not few and len(mean) > 1:
            mark_best(axes, mean, look)
        if len(mean):
            bold = axes.plot(mean.index, mean, color=look.color, linestyle=look.line, linewidth=1.7, label="mean")
            bold[0].set(marker=look.marker, markersize=3.5, markevery=max(1, len(mean) // 8))
            # The baseline is drawn on top.
            bold[0].set(zorder=3 if row == sweep.record.default else 2)
    points = pd.concat([of_row.stack() for of_row in courses.values()]).dropna()
    x, y = points.index.get_level_values("x"), points
    log = needs_log(y)
    scale(axes, "y", axis_limits(y, log=log), log=log)
    if x.min() == x.max():
        axes.set_xlim(x[0] - 0.5, x[0] + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=all(x % 1 == 0), min_n_ticks=1))
    axes.set_xlabel(along)
    axes.set_ylabel(f"{sweep.label} ↓")
    add_legend(figure, drawn, lines=True)
    best = {row: mean for row, mean in means.items() if len(mean)}
    uncommon = [row for row in courses if row not in best and not counted[row].empty]
    named = "; ".join(f"{row} {mean.min():.3g} at {along} {mean.idxmin():.4g}" for row, mean in best.items())
    notes = [
        "Thin lines: seeds. Bold lines: means, where all seeds of a row have a value. Stars: each seed's best."
        if few
        else f"Only means are drawn, because there are {trials} trials. Stars: each row's best mean.",
        *(["Dotted: trials that have collapsed."] if few and any(name in courses for name, _ in collapsed) else []),
        *(["Rows whose seeds have no step in common have no mean."] if uncommon else []),
        *([f"Not finite, left out: {dropped} value{'s'[: dropped > 1]}."] if dropped else []),
        remarks(sweep, [sweep.label] if log else []),
    ]
    return [
        Drawing(
            "course",
            f"{sweep.label} over training",
            f"Lower is better. {' '.join(notes)}",
            f"Lines of {sweep.label} over {along}.{f' Lowest means: {named}.' if named else ''}",
            figure,
        )
    ]


def _draw_cost(sweep: ScoredSweep, looks: Mapping[str, Look]) -> list[Drawing]:
    memory = [metric for metric in MEMORY_METRICS if metric in sweep.values][:1]
    costs = [*memory, *(metric for metric in (SECONDS_PER_ITERATION,) if metric in sweep.values)]
    panels = {column_of(metric).label: paired(summary(sweep.values, metric), sweep.means) for metric in costs}
    panels = {label: pairs for label, pairs in panels.items() if pairs}
    if not panels:
        return []
    figure, note = _scatter(sweep, panels, f"last {sweep.label}", looks)
    fronts: list[str] = []
    for axes, (label, pairs) in zip(figure.axes, panels.items(), strict=True):
        front = pareto_front({row: (cost.mean, score.mean) for row, (cost, score) in pairs.items()})
        x, y = [pairs[row][0].mean for row in front], [pairs[row][1].mean for row in front]
        ends = axes.get_xlim()[1], axes.get_ylim()[1]
        step = axes.plot([x[0], *x, ends[0]], [ends[1], *y, y[-1]], color=INK, drawstyle="steps-post", label="front")
        step[0].set(linewidth=FRONT_POINTS, alpha=0.16, zorder=1, solid_joinstyle="round", solid_capstyle="butt")
        fronts.append(f"{label}: {', '.join(front)}")
    return [
        Drawing(
            "cost",
            f"{sweep.label} against cost",
            "Lower is better for both. Broad pale band: the Pareto front, that is, the rows for which no other row is "
            f"at least as good in both and better in one. {note}",
            f"Scatter of the last {sweep.label} against cost. On the front for {'; for '.join(fronts)}.",
            figure,
        )
    ]


def _draw_tasks(sweep: ScoredSweep, looks: Mapping[str, Look], task: str, other: ScoredSweep | None) -> list[Drawing]:
    pairs = paired(sweep.means, other.means) if other is not None else {}
    if other is None or not pairs:
        return []
    here, there = tell_apart([sweep.record.task, task], 25)
    panels = {f"last {sweep.label} on {here}": pairs}
    figure, note = _scatter(sweep, panels, f"last {other.label} on {there}", looks)
    named = "; ".join(f"{row} {x.mean:.3g} and {y.mean:.3g}" for row, (x, y) in pairs.items())
    return [
        Drawing(
            f"tasks_{file_stem(task)}",
            f"{sweep.record.task} and {task}",
            f"Each row on both tasks. Lower is better for both. {note}",
            f"Scatter of {sweep.label} on {sweep.record.task} and {other.label} on {task}. Means: {named}.",
            figure,
        )
    ]


def _scatter(
    sweep: ScoredSweep,
    panels: Mapping[str, Mapping[str, tuple[Estimate, Estimate]]],
    label: str,
    looks: Mapping[str, Look],
) -> tuple[Figure, str]:
    """Draw rows at two means ± a standard deviation, a panel per x; return the figure and the end of its caption.

    panels: by the name of x, each row's x and y. label: the name of y.
    """
    drawn = [look for row, look in looks.items() if any(row in pairs for pairs in panels.values())]
    width = WIDTH if len(panels) > 1 or len(drawn) >= LEGEND_MANY else NARROW
    figure = Figure((width, 2.8), layout="constrained")
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    y_means = [y for pairs in panels.values() for _, y in pairs.values()]
    logs = _scale_to(all_axes[0], "y", label, y_means)
    all_axes[0].set_ylabel(f"{label} ↓")
    cut = False
    for axes, (name, pairs) in zip(all_axes, panels.items(), strict=True):
        logs += _scale_to(axes, "x", name, [x for x, _ in pairs.values()])
        axes.set_xlabel(f"{name} ↓")
        for row, (x, y) in pairs.items():
            marker = axes.plot(x.mean, y.mean, color=looks[row].color, marker=looks[row].marker, label="means")
            marker[0].set(markersize=6, zorder=3)
            cut |= mark_bar(axes, "x", y.mean, (x.mean - x.std, x.mean + x.std), looks[row], 0.7)
            cut |= mark_bar(axes, "y", x.mean, (y.mean - y.std, y.mean + y.std), looks[row], 0.7)
    add_legend(figure, drawn, lines=False)
    sides = {name: [x for x, _ in pairs.values()] for name, pairs in panels.items()}
    seeds = count_seeds({label: y_means, **sides})
    end = remarks(sweep, logs, cut=cut)
    return figure, f"Marks: means over seeds ({seeds}). Bars: ± one standard deviation. {end}"


def _scale_to(axes: Axes, along: Along, label: str, means: Sequence[Estimate]) -> list[str]:
    """Scale an axis to means and deviations; return its label in a list where it is logarithmic."""
    log = needs_log(mean.mean for mean in means)
    bounds = [bound for mean in means for bound in (mean.mean - mean.std, mean.mean + mean.std)]
    scale(axes, along, axis_limits([mean.mean for mean in means], bounds, log=log), log=log)
    return [label] if log else []
