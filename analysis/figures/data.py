"""Data of figures (scores, courses, Pareto front, curves) and the sentences that captions share; pure."""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.style import to_svg
from analysis.records.names import Metric, last_metric, metric_of, score_label
from analysis.records.schema import Setting, SweepRecord
from analysis.statistics.collapse import collapsed_counts
from analysis.statistics.comparisons import Comparison, compare_rows
from analysis.statistics.estimates import Estimate, content_scores, main_score, seed_differences, summary, values_of

MOST_ROWS = 40  # more rows are hard to distinguish in one figure


@dataclass(frozen=True)
class Drawing:
    """A figure with its file stem, title and caption, and a text alternative."""

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure

    @cached_property
    def svg(self) -> bytes:
        """The figure as SVG, for a file and for the page."""
        return to_svg(self.figure)


@dataclass(frozen=True)
class ScoredSweep:
    """A record and one of its scores, such as 'fid'. label: the score's name for readers.

    values: those of `values_of`. means, seeds: the last score of each row that has one, in the sweep's order. compared:
    each row with the default row. paired: the differences to the default row by seed, of rows that were scored alike.
    note: which rows these are, if not all, and how many trials have collapsed.
    """

    record: SweepRecord
    score: str
    label: str
    values: pd.DataFrame
    means: Mapping[str, Estimate]
    seeds: Mapping[str, list[float]]
    compared: Mapping[str, Comparison]
    paired: Mapping[str, list[float]]
    note: str = ""

    @property
    def metric(self) -> Metric:
        """The score's entry."""
        return metric_of(last_metric(self.score))


def score_sweep(record: SweepRecord) -> ScoredSweep | None:
    """Return the record with its main score; None where no finished trial has one."""
    values = values_of(record)
    score = main_score(values)
    return _scored(record, values, score) if score else None


def content_sweeps(sweep: ScoredSweep) -> list[ScoredSweep]:
    """Return the record with each score of content that it has, of the rows of the given sweep."""
    found = [_scored(sweep.record, sweep.values, score) for score in content_scores(sweep.values)]
    kept = [
        replace(one, means={row: mean for row, mean in one.means.items() if row in sweep.means}, note=sweep.note)
        for one in found
        if one
    ]
    return [one for one in kept if one.means]


def _scored(record: SweepRecord, values: pd.DataFrame, score: str) -> ScoredSweep | None:
    metric = last_metric(score)
    means = summary(values, metric)
    known = {row.row: means[row.row] for row in record.rows if means[row.row].n}
    if not known:
        return None
    collapsed, compared = collapsed_counts(record), compare_rows(record, values, metric)
    differences = seed_differences(values, metric, record.default)
    return ScoredSweep(
        record,
        score,
        score_label(score),
        values,
        known,
        {row: values[metric].loc[row].dropna().tolist() for row in known},
        {row: found for row, found in compared.items() if found.difference.n},
        {row: differences.loc[row].dropna().tolist() for row, found in compared.items() if found.difference.n},
        f"Collapsed, in no mean: {', '.join(f'{row} ({n})' for row, n in collapsed.items())}." if collapsed else "",
    )


def best_rows(sweep: ScoredSweep) -> ScoredSweep:
    """Return at most MOST_ROWS rows: the default row and those with the lowest means of a distance."""
    default, most = sweep.record.default, MOST_ROWS - 1
    if len(sweep.means) <= MOST_ROWS:
        return sweep
    others = sorted((row for row in sweep.means if row != default), key=lambda row: sweep.means[row].mean)
    kept = {default, *others[:most]}
    shown = f"Shown: the {'baseline and the ' if default in sweep.means else ''}best {most} of {len(sweep.means)} rows."
    note = " ".join(filter(None, (sweep.note, shown)))
    return replace(sweep, means={row: mean for row, mean in sweep.means.items() if row in kept}, note=note)


def row_courses(
    record: SweepRecord, course: pd.DataFrame, rows: Collection[str]
) -> tuple[str, dict[str, pd.DataFrame], int]:
    """Return the unit of x, the scores of each row's finished trials, and the number of values that are not finite.

    The unit is 'epoch', or 'step' where some epoch is not recorded. Scores have a line for each x and a column for each
    seed; nan where a seed has none.
    """
    finished = {(trial["row"], trial["seed"]) for trial in record.finished if trial["row"] in rows}
    evaluations = course.sort_values("step", kind="stable").to_dict("records")
    found = pd.DataFrame([one for one in evaluations if (one["row"], one["seed"]) in finished], columns=course.columns)
    known = found.dropna(subset=["value"])
    along = "step" if known["epoch"].isna().to_numpy().any() else "epoch"
    known = known.assign(x=known[along].astype(float).round(6))
    of_rows = {str(row): of_row for row, of_row in known.groupby("row")}
    courses = {
        row: of_rows[row].pivot_table("value", "x", "seed", "last", sort=False) for row in rows if row in of_rows
    }
    return along, courses, len(found) - len(known)


def paired(x: Mapping[str, Estimate], y: Mapping[str, Estimate]) -> dict[str, tuple[Estimate, Estimate]]:
    """Return both estimates of the rows that have both, in the order of y."""
    return {row: (x[row], y[row]) for row in y if row in x and x[row].n and y[row].n}


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return the Pareto-optimal rows, sorted by x; lower is better in both coordinates."""
    best = {
        row: (x, y)
        for row, (x, y) in points.items()
        if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points.values())
    }
    return sorted(best, key=best.__getitem__)


def rows_along(
    field: str, settings: Mapping[str, Mapping[str, Setting]], default: Mapping[str, Setting]
) -> dict[float, str]:
    """Return the rows that differ from the default row in one field only, by the field's number, sorted."""
    rest = {name: value for name, value in default.items() if name != field}
    found: dict[float, str] = {}
    for row, of_row in settings.items():
        value = of_row.get(field)
        same = {name: other for name, other in of_row.items() if name != field} == rest
        if same and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found.setdefault(float(value), row)
    return dict(sorted(found.items()))


def count_seeds(sides: Mapping[str, Collection[Estimate]]) -> str:
    """Return 'n = 3'; 'n = 1 to 3' where rows differ; 'n = 3 of FID; 2 of KID' where sides differ."""
    ends = {side: (min(mean.n for mean in means), max(mean.n for mean in means)) for side, means in sides.items()}
    spelt = {side: f"{low}" if low == high else f"{low} to {high}" for side, (low, high) in ends.items()}
    if len(set(spelt.values())) == 1:
        return f"n = {next(iter(spelt.values()))}"
    return f"n = {'; '.join(f'{count} of {side}' for side, count in spelt.items())}"


def remarks(sweep: ScoredSweep, logs: Collection[str], *, cut: bool = False) -> str:
    """Return the end of a caption. logs: the names of logarithmic axes. cut: whether a bar continues beyond an axis."""
    sentences = [
        *([sweep.note] if sweep.note else []),
        *(["Arrow heads: the line continues beyond the axis."] if cut else []),
        "Black (white in dark mode): the baseline.",
        *([f"Logarithmic axis: {', '.join(logs)}."] if logs else []),
    ]
    return " ".join(sentences)


def file_stem(text: str) -> str:
    """Return the text as a file name; letters of any alphabet stay."""
    return re.sub(r"\W", "_", text)
