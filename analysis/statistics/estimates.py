"""From a record to statistics: means over seeds, and differences paired by seed, with Student's t-interval; pure."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from analysis.records.schema import VALUES, SweepRecord

CONFIDENCE = 0.95

# What depends on who else used the device.
TIMES = (
    "cost/seconds_per_iteration",
    "cost/data_seconds_per_iteration",
    "cost/seconds_per_step",
    "cost/seconds_per_evaluation",
    "cost/training_seconds",
    "cost/evaluation_seconds",
    "cost/joules_per_1000_iterations",
    "cost/device_hours",
)
# The distances by which rows are compared, the first of them that is recorded.
SCORES = ("fid", "fd_small_conv")


@dataclass(frozen=True)
class Estimate:
    """A mean over n seeds, its standard deviation (of a sample), and Student's interval of it; nan for what n cannot
    give."""

    mean: float = math.nan
    std: float = math.nan
    n: int = 0
    low: float = math.nan
    high: float = math.nan


def values_of(record: SweepRecord) -> pd.DataFrame:
    """What finished trials ended with: a line a trial, indexed by (row, seed), a column a value that any of them has.

    Times are nan for trials that did not run as most of them did (`timed_alike`).
    """
    runs = record.runs
    names = [str(name) for name in runs.columns if str(name).startswith(VALUES)]
    if not names:
        return pd.DataFrame(index=runs.index)
    finished = cast(pd.DataFrame, runs[names].astype(float)).where(runs["status"] == "FINISHED")
    values = finished.dropna(axis="columns", how="all")
    timed, left_out = timed_alike(record)
    if left_out:
        times = [name for name in TIMES if name in values]
        values[times] = values[times].where(runs["timed"] == timed)
    return values


def timed_alike(record: SweepRecord) -> tuple[str, int]:
    """On which device, with how many threads and beside how many others most of the finished trials ran (the first of
    equals), and how many ran otherwise: times of the one say nothing about times of the other."""
    finished = record.runs[record.runs["status"] == "FINISHED"]
    if "timed" not in finished or finished.empty:
        return "", 0
    ways = pd.Series(finished["timed"]).value_counts(sort=False)
    most = str(ways.idxmax())
    return most, int(ways.sum() - ways[most])


def main_score(values: pd.DataFrame) -> str | None:
    """The distance by which rows are compared, as 'fid'; None where no trial has one."""
    return next((score for score in SCORES if f"last/{score}" in values), None)


def summary(values: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A line a row, in the order of `values`, over its seeds: mean, std (of a sample), n, and low and high, which
    bound Student's interval of the mean. What one seed cannot give is nan."""
    return _intervals(_by_seed(values, metric))


def differences(values: pd.DataFrame, metric: str, default: str) -> pd.DataFrame:
    """A line a row: its value less the default row's, seed by seed, as `summary` gives it for values; n counts the
    seeds that both have."""
    by_seed = _by_seed(values, metric)
    return _intervals(by_seed - by_seed.loc[default])


def between(one: pd.DataFrame, other: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A line for each row of either: its value in the other less that in the one, seed by seed, as `differences`."""
    return _intervals(_by_seed(other, metric) - _by_seed(one, metric))


def by_row(found: pd.DataFrame) -> Mapping[str, Estimate]:
    """The lines of such a frame by row; an estimate of nothing for rows that it has not."""
    lines = {str(row): Estimate(*line) for row, *line in found.itertuples()}
    return defaultdict(Estimate, lines)


def _by_seed(values: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A line a row, a column a seed."""
    return cast(pd.DataFrame, values[metric].unstack("seed", sort=False))


def _intervals(by_seed: pd.DataFrame) -> pd.DataFrame:
    """Mean ± t(n - 1) · std / √n of each line's known values."""
    count = by_seed.count(axis="columns")
    mean, std = by_seed.mean(axis="columns"), by_seed.std(axis="columns", ddof=1)
    quantile = pd.Series(stdtrit(count.where(count > 1) - 1, (1 + CONFIDENCE) / 2), index=count.index)
    half = quantile * std / np.sqrt(count)
    return pd.DataFrame({"mean": mean, "std": std, "n": count, "low": mean - half, "high": mean + half})
