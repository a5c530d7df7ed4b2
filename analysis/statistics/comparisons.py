"""Which rows are told apart from the default row: paired t-tests over seeds, corrected for many rows; pure."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd
from scipy.special import stdtr, stdtrit

from analysis.records.names import cost_metric, metric_of
from analysis.records.schema import SweepRecord
from analysis.statistics.collapse import collapsed_counts
from analysis.statistics.estimates import CONFIDENCE, Estimate, differences, rows_scored_differently, summary

LEVEL = 1 - CONFIDENCE


@dataclass(frozen=True)
class Comparison:
    """A row compared with another one by one metric.

    difference: paired by seed. p: of the paired t-test, with Holm's correction for the number of `tests`; nan for
    fewer than two pairs. told_apart: whether the row is called better or worse, that is, p < 5 %, the digits of a table
    show a difference, and no trial of the two rows has collapsed. collapsed: how many trials have; 0 for costs.
    """

    difference: Estimate
    p: float
    tests: int
    told_apart: bool
    collapsed: int = 0


def compare_rows(record: SweepRecord, values: pd.DataFrame, metric: str) -> dict[str, Comparison]:
    """Return the comparison of each row with the default row; by a score, only of rows that were scored alike.

    The trials that have not collapsed are a chosen few, so by a score their row is not told apart.
    """
    otherwise, collapsed = set[str](), Counter[str]()
    if not is_cost(metric):
        otherwise, collapsed = rows_scored_differently(record), collapsed_counts(record)
    found = differences(values, metric, record.default)
    rows = [row.row for row in record.rows if row.row != record.default and row.row not in otherwise]
    compared = compare({row: found[row] for row in rows}, metric)
    lost = {row: collapsed[row] + collapsed[record.default] for row in rows}
    return {
        row: replace(one, told_apart=one.told_apart and not lost[row], collapsed=lost[row])
        for row, one in compared.items()
    }


def comparison_frame(record: SweepRecord, values: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return a line for each row: its mean of a metric, and its difference to the default row, with its interval.

    Its columns are row, baseline, n (seeds), mean, sd, pairs (seeds with a difference), difference, low and high (the
    95 % interval), p (with Holm's correction) and told_apart. What is not known is nan: one seed has no interval, and
    the default row has no difference. values: from `values_of`.
    """
    means, compared = summary(values, metric), compare_rows(record, values, metric)
    lines: list[dict[str, object]] = []
    for name in (row.row for row in record.rows):
        mean, found = means[name], compared.get(name, Comparison(Estimate(), math.nan, 0, False))
        of_row = {"row": name, "baseline": name == record.default, "n": mean.n, "mean": mean.mean, "sd": mean.std}
        to_default = {"pairs": found.difference.n, "difference": found.difference.mean}
        interval = {"low": found.difference.low, "high": found.difference.high}
        lines.append({**of_row, **to_default, **interval, "p": found.p, "told_apart": found.told_apart})
    return pd.DataFrame(lines)


def is_cost(metric: str) -> bool:
    """Return whether a recorded metric is a cost and no score."""
    return metric.startswith(cost_metric(""))


def compare(found: Mapping[str, Estimate], metric: str) -> dict[str, Comparison]:
    """Return the comparisons of paired differences in a metric. All of them are one family of tests."""
    digits = metric_of(metric).digits
    adjusted = holm({row: paired_p(difference, least_spread(metric)) for row, difference in found.items()})
    tests = sum(not math.isnan(p) for p in adjusted.values())
    return {
        row: Comparison(difference, adjusted[row], tests, adjusted[row] < LEVEL and round(difference.mean, digits) != 0)
        for row, difference in found.items()
    }


def least_spread(metric: str) -> float:
    """Return the standard deviation that equal differences of a metric are taken to have.

    Costs, such as memory, can be equal in every seed. Scores are equal by chance: small counts often are, such as one
    lost object more in each of three seeds. Such percentages move by about a point, and other scores by a last digit.
    """
    if is_cost(metric):
        return 0.0
    return 1.0 if metric_of(metric).unit == "%" else 10.0 ** -metric_of(metric).digits


def paired_p(difference: Estimate, least: float) -> float:
    """Return the two-sided p value of a paired t-test; nan for fewer than two pairs.

    least: the standard deviation where all pairs have the same difference. With 0, that difference is certain.
    """
    if difference.n < 2:
        return math.nan
    std = difference.std or least
    if std == 0 or difference.mean == 0:
        return 1.0 if difference.mean == 0 else 0.0
    t = abs(difference.mean) * math.sqrt(difference.n) / std
    return float(2 * stdtr(difference.n - 1, -t))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p values with the step-down correction of Holm (Scandinavian Journal of Statistics 6, 1979).

    nan counts as no test, and stays nan.
    """
    known = sorted((p, row) for row, p in p_values.items() if not math.isnan(p))
    adjusted, largest = dict.fromkeys(p_values, math.nan), 0.0
    for at, (p, row) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - at) * p))
        adjusted[row] = largest
    return adjusted


def detectable_ratio(pairs: int, level: float) -> float:
    """Return the smallest ratio of a mean difference to its standard deviation that has p < level."""
    return float(stdtrit(pairs - 1, 1 - level / 2)) / math.sqrt(pairs)
