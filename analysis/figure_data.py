"""What figures show: scores, courses, fronts and curves by row, and the words that captions share; pure."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.columns import SCORE_LABELS
from analysis.estimates import Estimate, by_row, main_score, summary, values_of
from analysis.records import Setting, SweepRecord

IN_INK = "The default row is in ink."
LOG = " Distances are on a logarithmic axis."


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

    values: as `values_of` gives them. means, seeds: the last score of each row that has one, in the sweep's order.
    """

    record: SweepRecord
    score: str
    label: str
    values: pd.DataFrame
    means: Mapping[str, Estimate]
    seeds: Mapping[str, list[float]]


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
    values = values_of(record)
    score = main_score(values)
    if score is None:
        return None
    means = by_row(summary(values, f"last/{score}"))
    known = {row.row: means[row.row] for row in record.rows if means[row.row].n}
    lasts = values[f"last/{score}"].dropna()
    seeds = {row: lasts.loc[[row]].tolist() for row in known}
    return Scored(record, score, SCORE_LABELS[score], values, known, seeds)


def row_courses(record: SweepRecord, course: pd.DataFrame) -> tuple[str, dict[str, RowCourse]]:
    """By row the course of its finished trials, over 'epoch', or over 'step' where some epoch is not recorded."""
    finished = {(trial["row"], trial["seed"]) for trial in record.finished}
    evaluations = course.dropna(subset=["value"]).sort_values("step").to_dict("records")
    known = [found for found in evaluations if (found["row"], found["seed"]) in finished]
    along = "step" if any(math.isnan(found["epoch"]) for found in known) else "epoch"
    courses: dict[str, RowCourse] = {}
    for row in record.rows:
        of_row = [found for found in known if found["row"] == row.row]
        x = {found["step"]: float(found[along]) for found in of_row}
        by_seed: dict[int, dict[int, float]] = {}
        for found in of_row:
            by_seed.setdefault(found["seed"], {})[found["step"]] = float(found["value"])
        shared = [step for step in x if all(step in values for values in by_seed.values())]
        means = [sum(values[step] for values in by_seed.values()) / len(by_seed) for step in shared]
        if of_row:
            seeds = [Line([x[step] for step in values], list(values.values())) for values in by_seed.values()]
            courses[row.row] = RowCourse(seeds, Line([x[step] for step in shared], means))
    return along, courses


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
        if alike and isinstance(value, int | float) and not isinstance(value, bool):
            found.setdefault(float(value), row)
    return dict(sorted(found.items()))


def count_seeds(means: Mapping[str, Estimate]) -> str:
    """As 'n = 3', or 'n = 1 to 3' where rows differ."""
    counts = [mean.n for mean in means.values()]
    return f"n = {min(counts)}" if min(counts) == max(counts) else f"n = {min(counts)} to {max(counts)}"


def name_means(means: Mapping[str, Estimate]) -> str:
    """As 'CUT 45.5 (n = 3); FastCUT 73.4 (n = 2)'."""
    return "; ".join(f"{row} {mean.mean:.3g} (n = {mean.n})" for row, mean in means.items())


def interval_notes(means: Mapping[str, Estimate], low: float, high: float) -> list[str]:
    """What a reader must know of t-intervals on an axis from low to high."""
    clipped = any(mean.low < low or mean.high > high for mean in means.values())
    return [
        *(["A row of one seed has no interval."] if any(mean.n == 1 for mean in means.values()) else []),
        *(["An arrow head: the interval goes on."] if clipped else []),
    ]


def file_stem(text: str) -> str:
    """Fit for a file's name."""
    return re.sub(r"[^A-Za-z0-9]", "_", text)
