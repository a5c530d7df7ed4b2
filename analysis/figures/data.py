"""What figures show: scores, courses, fronts and curves by row, and the words that captions share; pure."""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import pandas as pd
from matplotlib.figure import Figure

from analysis.records.manifest import Setting
from analysis.records.names import last_metric, score_label
from analysis.records.schema import SweepRecord
from analysis.statistics.estimates import Estimate, by_row, main_score, summary, values_of

MOST_ROWS = 40  # that one figure can tell apart
HUGE = 1e100  # the stores of MLflow write infinity as their largest number


@dataclass(frozen=True)
class Drawing:
    """A figure with the stem of its file, its heading, what is drawn, and the same in words for who cannot see it."""

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure


@dataclass(frozen=True)
class Scored:
    """A record by its main score, such as 'fid', which `label` calls as readers do.

    values: as `values_of` gives them, less what is not finite, of which `dropped` counts each column's. means, seeds:
    the last score of each row that has one, in the sweep's order. note: which rows these are, where not all.
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
    """Places along training and the score at each, in their order."""

    x: list[float]
    y: list[float]

    @property
    def best(self) -> tuple[float, float]:
        """Where the score is lowest for the first time, and the score there."""
        at = self.y.index(min(self.y))
        return self.x[at], self.y[at]


@dataclass(frozen=True)
class RowCourse:
    """A row's evaluations: a line a seed, and their mean where all of these have one."""

    seeds: list[Line]
    mean: Line


def scored(record: SweepRecord) -> Scored | None:
    """None where no trial is finished, or none has a score."""
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
    return Scored(record, score, score_label(score), values, dropped, known, seeds) if known else None


def best_rows(its: Scored) -> Scored:
    """With no more rows than one figure can tell apart: the default row and those of the lowest means."""
    default, most = its.record.default, MOST_ROWS - 1
    if len(its.means) <= MOST_ROWS:
        return its
    others = sorted((row for row in its.means if row != default), key=lambda row: its.means[row].mean)
    kept = {default, *others[:most]}
    said = f"The {'default and the ' if default in its.means else ''}best {most} of {len(its.means)} rows."
    return replace(its, means={row: mean for row, mean in its.means.items() if row in kept}, note=said)


def row_courses(
    record: SweepRecord, course: pd.DataFrame, rows: Collection[str]
) -> tuple[str, dict[str, RowCourse], int]:
    """By row the course of its finished trials, over 'epoch', or over 'step' where some epoch is not recorded, and how
    many values are left out since they are not finite."""
    finished = {(trial["row"], trial["seed"]) for trial in record.finished if trial["row"] in rows}
    evaluations = course.sort_values("step", kind="stable").to_dict("records")
    asked = [found for found in evaluations if (found["row"], found["seed"]) in finished]
    known = [found for found in asked if abs(found["value"]) < HUGE]
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
    return along, courses, len(asked) - len(known)


def paired(x: Mapping[str, Estimate], y: Mapping[str, Estimate]) -> dict[str, tuple[Estimate, Estimate]]:
    """The estimates of the rows that have both, in the order of y."""
    return {row: (x[row], y[row]) for row in y if row in x and x[row].n and y[row].n}


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The rows, from the smallest x, that no other beats in one and equals or beats in the other; lower is better."""

    def beaten(x: float, y: float) -> bool:
        return any(a <= x and b <= y and (a < x or b < y) for a, b in points.values())

    return sorted((row for row, point in points.items() if not beaten(*point)), key=lambda row: points[row])


def rows_along(
    field: str, settings: Mapping[str, Mapping[str, Setting]], default: Mapping[str, Setting]
) -> dict[float, str]:
    """By each number that a field has, from the smallest, the row that has it and all else as the default row."""
    rest = {name: value for name, value in default.items() if name != field}
    found: dict[float, str] = {}
    for row, its in settings.items():
        value = its.get(field)
        alike = {name: other for name, other in its.items() if name != field} == rest
        if alike and isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < HUGE:
            found.setdefault(float(value), row)
    return dict(sorted(found.items()))


def count_seeds(sides: Mapping[str, Collection[Estimate]]) -> str:
    """As 'n = 3', 'n = 1 to 3' where rows differ, or 'n = 3 of FID; 2 of KID' where the sides do."""
    ends = {side: (min(mean.n for mean in means), max(mean.n for mean in means)) for side, means in sides.items()}
    spelt = {side: f"{low}" if low == high else f"{low} to {high}" for side, (low, high) in ends.items()}
    if len(set(spelt.values())) == 1:
        return f"n = {next(iter(spelt.values()))}"
    return f"n = {'; '.join(f'{count} of {side}' for side, count in spelt.items())}"


def name_means(means: Mapping[str, Estimate]) -> str:
    """As 'CUT 45.5 (n = 3); FastCUT 73.4 (n = 2)'."""
    return "; ".join(f"{row} {mean.mean:.3g} (n = {mean.n})" for row, mean in means.items())


def remarks(its: Scored, dropped: int, logs: Collection[str], *, cut: bool = False) -> str:
    """The end of a caption. dropped: how many values are left out. logs: what is on a logarithmic axis. cut: whether
    bars go on beyond an axis."""
    said = "1 value that is not finite is" if dropped == 1 else f"{dropped} values that are not finite are"
    told = {
        its.note: True,
        f"{said} left out.": dropped > 0,
        "An arrow head: the line goes on.": cut,
        "The default row is in ink.": True,
        f"On a logarithmic axis: {', '.join(logs)}.": len(logs) > 0,
    }
    return " ".join(sentence for sentence, holds in told.items() if sentence and holds)


def file_stem(text: str) -> str:
    """Fit for a file's name; letters of any alphabet stay."""
    return re.sub(r"\W", "_", text)
