"""Which rows had a distance that still fell when their training ended; pure."""

from collections.abc import Mapping
from typing import cast

import pandas as pd

from analysis.records.schema import SweepRecord
from analysis.statistics.collapse import has_collapsed

# The last evaluations that must all fall, of several seeds and of one. If only chance moved the scores, they would in
# 1 of 216 rows with three seeds, 1 of 36 with two, and 1 of 24 with one.
FALLS, FALLS_OF_ONE_SEED = 2, 3
# Smaller falls of the mean, relative to the last one, change no conclusion.
LEAST_FALL = 0.05


def still_falling(record: SweepRecord, course: pd.DataFrame) -> Mapping[str, tuple[float, float]]:
    """Return the rows whose training has not converged, with their mean distance at the last two evaluations.

    These are rows whose distance fell at each of the last evaluations in every seed, and at the last one by at least
    LEAST_FALL on average. course: of the distance by which rows are compared. Collapsed trials do not count, nor does
    a row with one finished seed in a sweep of several.
    """
    several = len({trial["seed"] for trial in record.trials}) > 1
    falls = FALLS if several else FALLS_OF_ONE_SEED
    counted = {(trial["row"], trial["seed"]) for trial in record.finished if not has_collapsed(trial)}
    known = course.loc[[which in counted for which in zip(course["row"], course["seed"], strict=True)]]
    found: dict[str, tuple[float, float]] = {}
    for row in record.rows:
        of_row = known[known["row"] == row.row].sort_values("step", kind="stable")
        scores = [cast(pd.Series, of_seed["value"]) for _, of_seed in of_row.groupby("seed")]
        if len(scores) < 1 + several or not all(_fell(of_seed, falls) for of_seed in scores):
            continue
        before, last = (float(sum(of_seed.iloc[at] for of_seed in scores)) / len(scores) for at in (-2, -1))
        if before - last >= LEAST_FALL * last:
            found[row.row] = (before, last)
    return found


def _fell(scores: pd.Series, times: int) -> bool:
    """Return whether each of the last scores is lower than the one before; not if one is not known."""
    return len(scores) > times and bool((scores.diff().iloc[-times:] < 0).all())
