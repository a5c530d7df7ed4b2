"""Data of figures (scores, courses, Pareto front, curves) and the sentences that captions share; pure."""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import pandas as pd
from matplotlib.figure import Figure

from analysis.records.names import last_metric, score_label
from analysis.records.schema import Setting, SweepRecord
from analysis.statistics.estimates import Estimate, by_row, main_score, summary, values_of

MOST_ROWS = 40  # more rows are hard to distinguish in one figure
HUGE = 1e100  # MLflow stores infinity as the largest number of its database


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

    values: those of `values_of` that are finite. dropped: the number of others by column. means, seeds: the last score
    of each row that has one, in the sweep's order. note: which rows these are, if not all.
    """

    record: SweepRecord
    score: str
    label: str
    values: pd.DataFrame
    dropped: Mapping[str, int]
    means: Mapping[str, Estimate]
    seeds: Mapping[str, list[float]]
    note: str = ""


@dataclass(frozen=True)
class Line:
    """A score along training: x are epochs or steps, y the score there."""

    x: list[float]
    y: list[float]

    @property
    def best(self) -> tuple[float, float]:
        """Return the first point with the lowest score."""
        at = self.y.index(min(self.y))
        return self.x[at], self.y[at]


@dataclass(frozen=True)
class RowCourse:
    """A row's evaluations: a line per seed, and the mean at steps that all seeds have."""

    seeds: list[Line]
    mean: Line


def score_sweep(record: SweepRecord) -> ScoredSweep | None:
    """Return the record with its main score; None where no finished trial has one."""
    recorded = values_of(record)
    score = main_score(recorded)
    if score is None:
        return None
    values = recorded.where(recorded.abs() < HUGE)
    dropped = {str(name): int(count) for name, count in (recorded.notna() & values.isna()).sum().items()}
    means = by_row(summary(values, last_metric(score)))
    known = {row.row: means[row.row] for row in record.rows if means[row.row].n}
    by_seed = values[last_metric(score)].dropna().groupby(level="row", sort=False)
    seeds = {str(row): of_row.tolist() for row, of_row in by_seed}
    return ScoredSweep(record, score, score_label(score), values, dropped, known, seeds) if known else None


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
) -> tuple[str, dict[str, RowCourse], int]:
    """Return the unit of x, the course of each row's finished trials, and the number of values that are not finite.

    The unit is 'epoch', or 'step' where some epoch is not recorded.
    """
    finished = {(trial["row"], trial["seed"]) for trial in record.finished if trial["row"] in rows}
    evaluations = course.sort_values("step", kind="stable").to_dict("records")
    finite_or_not = [found for found in evaluations if (found["row"], found["seed"]) in finished]
    known = [found for found in finite_or_not if abs(found["value"]) < HUGE]
    along = "step" if any(math.isnan(found["epoch"]) for found in known) else "epoch"
    x = {(found["row"], found["step"]): round(float(found[along]), 6) for found in known}
    values: dict[str, dict[int, dict[int, float]]] = {row: {} for row in rows}
    for found in known:
        values[found["row"]].setdefault(found["seed"], {})[found["step"]] = float(found["value"])
    courses: dict[str, RowCourse] = {}
    for row, by_seed in values.items():
        if by_seed:
            seeds = [Line([x[row, step] for step in of_seed], list(of_seed.values())) for of_seed in by_seed.values()]
            first, *rest = by_seed.values()
            shared = [step for step in first if all(step in other for other in rest)]
            means = [sum(of_seed[step] for of_seed in by_seed.values()) / len(by_seed) for step in shared]
            courses[row] = RowCourse(seeds, Line([x[row, step] for step in shared], means))
    return along, courses, len(finite_or_not) - len(known)


def paired(x: Mapping[str, Estimate], y: Mapping[str, Estimate]) -> dict[str, tuple[Estimate, Estimate]]:
    """Return both estimates of the rows that have both, in the order of y."""
    return {row: (x[row], y[row]) for row in y if row in x and x[row].n and y[row].n}


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return the Pareto-optimal rows, sorted by x; lower is better in both coordinates."""

    def beaten(x: float, y: float) -> bool:
        return any(a <= x and b <= y and (a < x or b < y) for a, b in points.values())

    return sorted((row for row, point in points.items() if not beaten(*point)), key=lambda row: points[row])


def rows_along(
    field: str, settings: Mapping[str, Mapping[str, Setting]], default: Mapping[str, Setting]
) -> dict[float, str]:
    """Return the rows that differ from the default row in one field only, by the field's number, sorted."""
    rest = {name: value for name, value in default.items() if name != field}
    found: dict[float, str] = {}
    for row, of_row in settings.items():
        value = of_row.get(field)
        same = {name: other for name, other in of_row.items() if name != field} == rest
        if same and isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < HUGE:
            found.setdefault(float(value), row)
    return dict(sorted(found.items()))


def count_seeds(sides: Mapping[str, Collection[Estimate]]) -> str:
    """Return 'n = 3'; 'n = 1 to 3' where rows differ; 'n = 3 of FID; 2 of KID' where sides differ."""
    ends = {side: (min(mean.n for mean in means), max(mean.n for mean in means)) for side, means in sides.items()}
    spelt = {side: f"{low}" if low == high else f"{low} to {high}" for side, (low, high) in ends.items()}
    if len(set(spelt.values())) == 1:
        return f"n = {next(iter(spelt.values()))}"
    return f"n = {'; '.join(f'{count} of {side}' for side, count in spelt.items())}"


def name_means(means: Mapping[str, Estimate]) -> str:
    """Return rows and means, such as 'CUT 45.5 (n = 3); FastCUT 73.4 (n = 2)'."""
    return "; ".join(f"{row} {mean.mean:.3g} (n = {mean.n})" for row, mean in means.items())


def remarks(sweep: ScoredSweep, dropped: int, logs: Collection[str], *, cut: bool = False) -> str:
    """Return the end of a caption.

    dropped: the number of values that are left out. logs: the names of logarithmic axes. cut: whether a bar continues
    beyond an axis.
    """
    sentences = {
        sweep.note: True,
        f"Not finite, left out: {dropped} value{'s'[: dropped > 1]}.": dropped > 0,
        "Arrow heads: the line continues beyond the axis.": cut,
        "Black (white in dark mode): the baseline.": True,
        f"Logarithmic axis: {', '.join(logs)}.": len(logs) > 0,
    }
    return " ".join(sentence for sentence, holds in sentences.items() if sentence and holds)


def file_stem(text: str) -> str:
    """Return the text as a file name; letters of any alphabet stay."""
    return re.sub(r"\W", "_", text)
