"""Which trials ended with a collapsed generator, so that their scores are counted and not averaged; pure."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from analysis.records.names import Tag, last_metric
from analysis.records.schema import SweepRecord


def has_collapsed(trial: Mapping[Any, Any]) -> bool:
    """Return whether all translations were alike at the last evaluation of a trial of a record.

    Not if the last epoch is not recorded.
    """
    last = trial.get(last_metric("epoch"), math.nan)
    return trial["status"] == "FINISHED" and _epoch(trial[Tag.COLLAPSED]) >= last


def collapsed_counts(record: SweepRecord) -> Mapping[str, int]:
    """Return how many trials of each row have collapsed; 0 for other rows."""
    return Counter(trial["row"] for trial in record.finished if has_collapsed(trial))


def _epoch(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
