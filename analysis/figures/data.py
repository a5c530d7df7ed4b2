"""Data of figures (scores, courses, Pareto front, curves) and the sentences that captions share; pure."""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import pandas as pd
from matplotlib.figure import Figure

from analysis.records.names import last_metric, score_label
from analysis.records.schema import Setting, SweepRecord
from analysis.statistics.estimates import Estimate, main_score, summary, values_of

MOST_ROWS = 40  # more rows are hard to distinguish in one figure


@dataclass(frozen=True)
class Drawing:
    """A figure with its file stem, title and caption, and a text alternative."""

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure


@dataclass(frozen=True)
class ScoredSweep:
    """A record and its main score, such as 'fid'. label: the score's name for readers.

    values: those of `values_of`. means, seeds: the last score of each row that has one, in the sweep's order. note:
    which rows these are, if not all.
    """

    record: SweepRecord
    score: str
    label: str
    values: pd.DataFrame
    means: Mapping[str, Estimate]
    seeds: Mapping[str, list[float]]
    note: str = ""


def score_sweep(record: SweepRecord) -> ScoredSweep | None:
    """Return the record with its main score; None where no finished trial has one."""
    values = values_of(record)
    score = main_score(values)
    if score is None:
        return None
    means = summary(values, last_metric(score))
    known = {row.row: means[row.row] for row in record.rows if means[row.row].n}
    by_seed = values[last_metric(score)].dropna().groupby(level="row", sort=False)
    seeds = {str(row): of_row.tolist() for row, of_row in by_seed}
    return ScoredSweep(record, score, score_label(score), values, known, seeds) if known else None


def best_rows(sweep: ScoredSweep) -> ScoredSweep:
    """Return at most MOST_ROWS rows: the default row and those with the lowest means."""
    default, most = sweep.record.default, MOST_ROWS - 1
    if len(sweep.means) <= MOST_ROWS:
        return sweep
    others = sorted((row for row in sweep.means if row != default), key=lambda row: sweep.means[row].mean)
    kept = {default, *others[:most]}
    note = f"Shown: the {'baseline and the ' if default in sweep.means else ''}best {most} of {len(sweep.means)} rows."
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
