"""Figures of every seed, the means, and what the seeds leave open of these (t-intervals): dots and curves; pure."""

from collections.abc import Mapping

import numpy as np
from matplotlib import markers
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analysis.estimates import Estimate
from analysis.figure_data import (
    IN_INK,
    LOG,
    Drawing,
    Scored,
    count_seeds,
    file_stem,
    interval_notes,
    name_means,
    rows_along,
)
from analysis.plot_style import (
    INK,
    NARROW,
    WIDTH,
    Look,
    axis_limits,
    mark_clipped,
    mark_mean,
    mark_seeds,
    needs_log,
    scale_x,
    scale_y,
    write_above,
)

FIELDS = {
    "model.temperature": "temperature τ",
    "model.nce_weight": "weight of PatchNCE, w",
    "model.identity_weight": "weight of the identity loss, v",
    "model.num_patches": "patches",
}
FEWEST_POINTS = 3  # of a curve


def draw_dots(its: Scored, looks: Mapping[str, Look]) -> Drawing:
    """Each row's seeds, mean and interval side by side, rows from the top in the sweep's order."""
    column = f"source/{its.score}"
    source = its.values[column].mean().item() if column in its.values else None
    seeds = [value for values in its.seeds.values() for value in values]
    log = needs_log(seeds)
    low, high = axis_limits(seeds, _bounds(its.means), source, log=log)
    figure = Figure((WIDTH, 0.75 + 0.25 * len(its.means)), layout="constrained")
    axes = figure.subplots()
    for y, (row, mean) in enumerate(its.means.items()):
        look = looks[row]
        mark_seeds(axes, its.seeds[row], [y] * mean.n, look)
        mark_mean(axes, mean.mean, y, look)
        if mean.n > 1:
            ends = [max(mean.low, low), min(mean.high, high)]
            axes.plot(ends, [y, y], color=look.color, linewidth=1.4, zorder=2, label="interval")
        if mean.low < low:
            mark_clipped(axes, low, y, markers.CARETLEFT, look)
        if mean.high > high:
            mark_clipped(axes, high, y, markers.CARETRIGHT, look)
    scale_x(axes, (low, high), log=log)
    axes.set_ylim(len(its.means) - 0.5, -0.5)
    axes.set_yticks(range(len(its.means)), [looks[row].name for row in its.means])
    axes.tick_params("y", length=0)
    axes.set_xlabel(f"{its.label}, last ↓")
    notes = interval_notes(its.means, low, high)
    if source is not None and low <= source <= high:
        axes.axvline(source, color=INK, linestyle="--", linewidth=0.9, zorder=1, label="source")
        write_above(axes, source, "source, untranslated")
    elif source is not None:
        notes.append(f"The untranslated source's, {source:.4g}, lies beyond the axis.")
    return Drawing(
        "dots",
        f"{its.label} of each seed",
        f"The last {its.label} of each seed (open), their mean (filled) and its 95 % t-interval (line), "
        f"{count_seeds(its.means)}; lower is better. {' '.join([*notes, IN_INK])}{LOG if log else ''}",
        f"Dot plot of the last {its.label}. Means: {name_means(its.means)}.",
        figure,
    )


def draw_curves(its: Scored, looks: Mapping[str, Look]) -> list[Drawing]:
    """The same along each field that enough rows differ from the default row in, and in nothing else."""
    settings = {row.row: row.settings for row in its.record.rows}
    default = settings.get(its.record.default, {})
    with_scores = {row: settings[row] for row in its.means}
    along = {field: rows_along(field, with_scores, default) for field in default}
    curves = {field: rows for field, rows in along.items() if len(rows) >= FEWEST_POINTS}
    ends = [field.rpartition(".")[2] for field in curves]
    drawings: list[Drawing] = []
    for (field, rows), end in zip(curves.items(), ends, strict=True):
        name = f"curve_{file_stem(end if ends.count(end) == 1 else field)}"
        drawings.append(_draw_curve(its, looks, name, FIELDS.get(field, end), rows))
    return drawings


def _draw_curve(its: Scored, looks: Mapping[str, Look], name: str, field: str, rows: Mapping[float, str]) -> Drawing:
    x = list(rows)
    means = {row: its.means[row] for row in rows.values()}
    seeds = [value for row in means for value in its.seeds[row]]
    log_x, log_y = x[0] > 0 and x[-1] / x[0] >= 10, needs_log(seeds)
    low, high = axis_limits(seeds, _bounds(means), log=log_y)
    figure = Figure((NARROW, 2.8), layout="constrained")
    axes = figure.subplots()
    bottoms, tops = [mean.low for mean in means.values()], [mean.high for mean in means.values()]
    axes.fill_between(x, np.maximum(bottoms, low), np.minimum(tops, high), color=INK, alpha=0.1, linewidth=0)
    middle = [mean.mean for mean in means.values()]
    axes.plot(x, middle, color=INK, linewidth=1.1, alpha=0.6, zorder=2, label="means")
    for at, (row, mean) in zip(x, means.items(), strict=True):
        mark_seeds(axes, [at] * mean.n, its.seeds[row], looks[row])
        mark_mean(axes, at, mean.mean, looks[row])
        if mean.low < low:
            mark_clipped(axes, at, low, markers.CARETDOWN, looks[row])
        if mean.high > high:
            mark_clipped(axes, at, high, markers.CARETUP, looks[row])
        if row == its.record.default:
            axes.axvline(at, color=INK, linestyle=":", linewidth=0.9, zorder=1, label="default")
            write_above(axes, at, "default")
    if log_x:
        axes.set_xscale("log")
    scale_y(axes, (low, high), log=log_y)
    axes.xaxis.set_major_locator(FixedLocator(_spaced(x, log=log_x)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(field)
    axes.set_ylabel(f"{its.label}, last ↓")
    named = "; ".join(f"{value:g}: {mean:.3g}" for value, mean in zip(x, middle, strict=True))
    return Drawing(
        name,
        f"{its.label} along {field}",
        f"The last {its.label} along {field}{' (logarithmic axis)' if log_x else ''}, all else as the default row has "
        f"it: each seed (open), the mean (filled) and the band of its 95 % t-interval, {count_seeds(means)}; lower is "
        f"better. {' '.join([*interval_notes(means, low, high), IN_INK])}{LOG if log_y else ''}",
        f"Curve of the last {its.label} along {field}. Means: {named}.",
        figure,
    )


def _bounds(means: Mapping[str, Estimate]) -> list[float]:
    return [bound for mean in means.values() for bound in (mean.low, mean.high)]


def _spaced(values: list[float], *, log: bool) -> list[float]:
    """Of values in their order, those whose numbers have room beside one another."""
    places = np.log(values) if log else np.array(values)
    kept = [0]
    for at in range(1, len(values)):
        if places[at] - places[kept[-1]] > 0.07 * (places[-1] - places[0]):
            kept.append(at)
    return [values[at] for at in kept]
