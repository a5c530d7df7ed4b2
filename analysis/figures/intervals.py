"""Figures of seeds, means and their t-intervals: dot plot and curves; pure."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from analysis.figures.data import Drawing, ScoredSweep, count_seeds, file_stem, remarks, rows_along
from analysis.figures.style import (
    INK,
    LETTER,
    NARROW,
    WIDTH,
    Along,
    Look,
    axis_limits,
    mark_bar,
    needs_log,
    scale,
    spell,
    write_above,
)
from analysis.records.names import source_metric
from analysis.statistics.estimates import Estimate, main_score

FIELDS = {
    "model.temperature": "temperature τ",
    "model.nce_weight": "weight of PatchNCE, w",
    "model.identity_weight": "weight of the identity loss, v",
    "model.num_patches": "patches",
}
FEWEST_POINTS = 3  # that make a curve


def draw_dots(sweep: ScoredSweep, looks: Mapping[str, Look]) -> Drawing:
    """Draw each row's seeds, mean and interval, with the sweep's first row at the top, and beside it its difference.

    The figure of the main score is called 'dots', that of another one 'dots_' and the score's name.
    """
    column = source_metric(sweep.score)
    sources = sweep.values[column].dropna() if column in sweep.values else ()
    source = float(np.mean(sources)) if len(sources) else None
    rows = {float(at): row for at, row in enumerate(sweep.means)}
    differences = {at: row for at, row in rows.items() if row in sweep.compared}
    figure = Figure((WIDTH, 0.75 + 0.22 * len(rows)), layout="constrained")
    axes, *beside = figure.subplots(1, 2 if differences else 1, sharey=True, squeeze=False)[0]
    note = _mark_rows(axes, "x", sweep, rows, looks, source)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [looks[row].name for row in rows.values()])
    axes.tick_params("y", length=0)
    axes.set_xlabel(f"{sweep.metric.header('last')}")
    low, high = axes.get_xlim()
    if source is not None and low <= source <= high:
        axes.axvline(source, color=INK, linestyle="--", linewidth=0.9, zorder=1, label="source")
        write_above(axes, source, "source, untranslated")
    elif source is not None:
        note += f" The untranslated source ({source:.4g}) is beyond the axis."
    for right in beside:
        note += _mark_differences(right, sweep, differences, looks)
    named = "; ".join(f"{row} {mean.mean:.3g} (n = {mean.n})" for row, mean in sweep.means.items())
    return Drawing(
        "dots" if sweep.score == main_score(sweep.values) else f"dots_{sweep.score}",
        f"{sweep.label} of each seed",
        f"Last {sweep.label} by row. {note}",
        f"Dot plot of the last {sweep.label}. Means: {named}.",
        figure,
    )


def draw_curves(sweep: ScoredSweep, looks: Mapping[str, Look]) -> list[Drawing]:
    """Draw a curve for each field in which, and only in which, enough rows differ from the default row."""
    settings = {row.row: row.settings for row in sweep.record.rows}
    default = settings.get(sweep.record.default, {})
    with_scores = {row: settings[row] for row in sweep.means}
    along = {field: rows_along(field, with_scores, default) for field in default}
    curves = {field: rows for field, rows in along.items() if len(rows) >= FEWEST_POINTS}
    ends = [field.rpartition(".")[2] for field in curves]
    drawings: list[Drawing] = []
    for (field, rows), end in zip(curves.items(), ends, strict=True):
        name = f"curve_{file_stem(end if ends.count(end) == 1 else field)}"
        drawings.append(_draw_curve(sweep, looks, name, FIELDS.get(field, end), rows))
    return drawings


def _draw_curve(
    sweep: ScoredSweep, looks: Mapping[str, Look], name: str, field: str, rows: Mapping[float, str]
) -> Drawing:
    x, middle = list(rows), [sweep.means[row].mean for row in rows.values()]
    spelt = spell(x)
    figure = Figure((NARROW, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.plot(x, middle, color=INK, linewidth=1.1, alpha=0.6, zorder=1.5, label="means")
    note = _mark_rows(axes, "y", sweep, rows, looks)
    for at in (at for at, row in rows.items() if row == sweep.record.default):
        axes.axvline(at, color=INK, linestyle=":", linewidth=0.9, zorder=1, label="baseline")
        write_above(axes, at, "baseline")
    log = x[0] > 0 and x[-1] / x[0] >= 10
    if log:
        axes.set_xscale("log")
    shown = _spaced(x, spelt, log=log)
    axes.xaxis.set_major_locator(FixedLocator([x[at] for at in shown]))
    axes.xaxis.set_major_formatter(FixedFormatter([spelt[at] for at in shown]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(field)
    axes.set_ylabel(f"{sweep.label}, last ↓")
    named = "; ".join(f"{value}: {mean:.3g}" for value, mean in zip(spelt, middle, strict=True))
    return Drawing(
        name,
        f"{sweep.label} against {field}",
        f"Last {sweep.label} against {field}{' (logarithmic axis)' if log else ''}. All other settings are "
        f"those of the baseline. {note}",
        f"Curve of the last {sweep.label} against {field}. Means: {named}.",
        figure,
    )


def _mark_rows(
    axes: Axes,
    along: Along,
    sweep: ScoredSweep,
    rows: Mapping[float, str],
    looks: Mapping[str, Look],
    near: float | None = None,
) -> str:
    """Draw scores along one axis, of rows at positions of the other; return the end of the caption."""
    means = [sweep.means[row] for row in rows.values()]
    shown = {at: (looks[row], sweep.means[row], sweep.seeds[row]) for at, row in rows.items()}
    known = [value for row in rows.values() for value in sweep.seeds[row]]
    log = needs_log(known)
    bounds = [bound for mean in means for bound in (mean.low, mean.high)]
    scale(axes, along, axis_limits(known, bounds, near, log=log), log=log)
    cut = _mark_seeds(axes, along, shown)
    single = " Rows with one seed have no interval." if any(mean.n == 1 for mean in means) else ""
    end = remarks(sweep, [sweep.label] if log else [], cut=cut)
    return (
        f"{sweep.metric.better.capitalize()} is better. Open marks: seeds. Short bars: means. Lines: 95 % t-intervals "
        f"of the means ({count_seeds({sweep.label: means})}).{single} {end}"
    )


def _mark_differences(axes: Axes, sweep: ScoredSweep, rows: Mapping[float, str], looks: Mapping[str, Look]) -> str:
    """Draw paired differences along x, of rows at positions of y; return the end of the caption."""
    shown = {at: (looks[row], sweep.compared[row].difference, sweep.paired[row]) for at, row in rows.items()}
    # 0 is always in sight.
    known = [0.0, *(value for row in rows.values() for value in sweep.paired[row])]
    bounds = [bound for _, mean, _ in shown.values() for bound in (mean.low, mean.high)]
    scale(axes, "x", axis_limits(known, bounds, log=False, signed=True), log=False)
    cut = _mark_seeds(axes, "x", shown)
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1, label="no difference")
    axes.set_xlabel("difference to the baseline")
    axes.tick_params("y", length=0)
    stars = [at for at, row in rows.items() if sweep.compared[row].told_apart]
    for at in stars:
        # Where a table has its star, too.
        axes.annotate("*", (1, at), (2, -2), ("axes fraction", "data"), "offset points", va="center")
    return (
        f" Right: differences to {sweep.record.default}, paired by seed, with their 95 % t-intervals"
        f"{', some of which continue beyond the axis' if cut else ''}."
        f"{' *: told apart, as in the table.' if stars else ''}"
    )


def _mark_seeds(axes: Axes, along: Along, shown: Mapping[float, tuple[Look, Estimate, Sequence[float]]]) -> bool:
    """Draw seeds, mean and interval at positions of the other axis; return whether an interval is cut."""
    cut = False
    for at, (look, mean, seeds) in shown.items():
        positions = [at] * len(seeds)
        rings = axes.plot(
            *((seeds, positions) if along == "x" else (positions, seeds)), color=look.color, label="seeds"
        )
        rings[0].set(marker=look.marker, linestyle="none", markersize=5, markerfacecolor="none", zorder=3)
        # A tick across the bar, since a marker would hide seeds beside the mean.
        tick = axes.plot(*((mean.mean, at) if along == "x" else (at, mean.mean)), color=look.color, label="mean")
        tick[0].set(marker="|" if along == "x" else "_", markersize=10, markeredgewidth=2.2, zorder=2.5)
        cut |= mark_bar(axes, along, at, (mean.low, mean.high), look, 1.3)
    return cut


def _spaced(values: Sequence[float], spelt: Sequence[str], *, log: bool) -> list[int]:
    """Return the indices of sorted values whose labels do not overlap on a narrow figure."""
    positions = np.log(values) if log else np.array(values)
    inches = (NARROW - 1.2) / (positions[-1] - positions[0]) * positions
    kept = [0]
    for at in range(1, len(values)):
        letters = (len(spelt[at]) + len(spelt[kept[-1]])) / 2 + 1.5
        if inches[at] - inches[kept[-1]] > letters * LETTER:
            kept.append(at)
    return kept
