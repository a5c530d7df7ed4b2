"""Means over seeds and paired differences, with Student's t-interval; which times and scores are comparable; pure."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from analysis.records.names import (
    CONTENT_SCORES,
    FINAL_GROUPS,
    MAIN_SCORES,
    SCORE_TAGS,
    Tag,
    best_metric,
    last_metric,
    timed_metrics,
)
from analysis.records.schema import SweepRecord
from analysis.statistics.collapse import has_collapsed

CONFIDENCE = 0.95
# The groups of scores of a trial's translations.
OF_TRANSLATIONS = (last_metric(""), best_metric(""))


@dataclass(frozen=True)
class Estimate:
    """A mean over n seeds, its sample standard deviation, and its t-interval; nan for what n seeds cannot give."""

    mean: float = math.nan
    std: float = math.nan
    n: int = 0
    low: float = math.nan
    high: float = math.nan


def values_of(record: SweepRecord) -> pd.DataFrame:
    """Return the final values of finished trials, indexed by (row, seed), with a column for each recorded metric.

    Times are nan for trials that ran under other conditions than most (`timing_conditions`), and scores for trials that
    have collapsed.
    """
    runs = record.runs
    names = [str(name) for name in runs.columns if str(name).startswith(FINAL_GROUPS)]
    if not names:
        return pd.DataFrame(index=runs.index)
    finished = cast(pd.DataFrame, runs[names].astype(float)).where(runs["status"] == "FINISHED")
    values = finished.dropna(axis="columns", how="all")
    collapsed = [has_collapsed(trial) for trial in record.trials]
    if any(collapsed):
        scores = [name for name in values if str(name).startswith(OF_TRANSLATIONS)]
        values[scores] = values[scores].mask(pd.Series(collapsed, index=values.index), axis="index")
    conditions, left_out = timing_conditions(record)
    if left_out:
        times = [name for name in timed_metrics() if name in values]
        values[times] = values[times].where(runs[Tag.TIMED] == conditions)
    return values


def timing_conditions(record: SweepRecord) -> tuple[str, int]:
    """Return the conditions under which most finished trials ran, and how many trials ran under others.

    Conditions are the device, the threads, the execution and the trials on the same device, in words. Times under
    different conditions are not comparable. Of conditions with the same number of trials, the first counts.
    """
    finished = record.runs[record.runs["status"] == "FINISHED"]
    if Tag.TIMED not in finished or finished.empty:
        return "", 0
    counts = pd.Series(finished[Tag.TIMED]).value_counts(sort=False)
    most = str(counts.idxmax())
    return most, int(counts.sum() - counts[most])


def main_score(values: pd.DataFrame) -> str | None:
    """Return the distance by which rows are compared, such as 'fid'; None if no trial has one."""
    return next((score for score in MAIN_SCORES if last_metric(score) in values), None)


def best_row(record: SweepRecord) -> tuple[str, str, Estimate] | None:
    """Return the row with the lowest mean distance at the end of training, the distance, and its estimate.

    None if no trial has a distance. Rows whose scores were measured differently are left out.
    """
    values = values_of(record)
    if (score := main_score(values)) is None:
        return None
    otherwise = rows_scored_differently(record)
    found = {row: line for row, line in summary(values, last_metric(score)).items() if line.n and row not in otherwise}
    if not found:
        return None
    row = min(found, key=lambda name: found[name].mean)
    return row, score, found[row]


def content_scores(values: pd.DataFrame) -> list[str]:
    """Return the recorded scores of what translations keep of the truth or of their input, such as 'object_iou'."""
    return [score for score in CONTENT_SCORES if last_metric(score) in values]


def summary(values: pd.DataFrame, metric: str) -> Mapping[str, Estimate]:
    """Return each row's estimate over its seeds, in the order of `values`."""
    return _intervals(_by_seed(values, metric))


def differences(values: pd.DataFrame, metric: str, default: str) -> Mapping[str, Estimate]:
    """Return the estimates of each row's difference to the default row, paired by seed; n counts the pairs."""
    return _intervals(seed_differences(values, metric, default))


def seed_differences(values: pd.DataFrame, metric: str, default: str) -> pd.DataFrame:
    """Return each row's difference to the default row, with a line for each row and a column for each seed."""
    by_seed = _by_seed(values, metric)
    return by_seed - by_seed.loc[default]


def differences_between(one: pd.DataFrame, other: pd.DataFrame, metric: str) -> Mapping[str, Estimate]:
    """Return the estimates of other - one, for each row of either, paired by seed."""
    return _intervals(_by_seed(other, metric) - _by_seed(one, metric))


def _by_seed(values: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return a line for each row and a column for each seed."""
    return cast(pd.DataFrame, values[metric].unstack("seed", sort=False))


def _intervals(by_seed: pd.DataFrame) -> Mapping[str, Estimate]:
    """Return mean ± t(n - 1) · std / √n of each row's known values; an empty estimate for other rows."""
    count = by_seed.count(axis="columns")
    mean, std = by_seed.mean(axis="columns"), by_seed.std(axis="columns", ddof=1)
    quantile = pd.Series(stdtrit(count.where(count > 1) - 1, (1 + CONFIDENCE) / 2), index=count.index)
    half = quantile * std / np.sqrt(count)
    lines = zip(by_seed.index, mean, std, count, mean - half, mean + half, strict=True)
    return defaultdict(Estimate, {str(row): Estimate(*line) for row, *line in lines})


def rows_scored_differently(record: SweepRecord) -> set[str]:
    """Return the rows with scores that were not computed as those of the default row."""
    computed: dict[str, set[tuple[str, ...]]] = {row.row: set() for row in record.rows}
    for trial in record.finished:
        computed[trial["row"]].add(tuple(trial[tag] for tag in SCORE_TAGS))
    default = computed[record.default]
    same = len(default) <= 1
    return {row for row, of_row in computed.items() if of_row and default and not (same and of_row == default)}


def tag_values(record: SweepRecord, tag: str) -> str:
    """Return the values of a tag among the finished trials, sorted."""
    return ", ".join(sorted({trial[tag] for trial in record.finished if trial[tag]}))


def tag_differences(record: SweepRecord) -> list[str]:
    """Return each tag of `SCORE_TAGS` in which finished trials differ: 'layer (64 in 1, 192 in 3)'."""
    found: list[str] = []
    for tag, name in SCORE_TAGS.items():
        counts = Counter(trial[tag] for trial in record.finished if trial[tag])
        if len(counts) > 1:
            found.append(f"{name} ({', '.join(f'{value} in {count}' for value, count in counts.items())})")
    return found
