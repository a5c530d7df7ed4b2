"""What must be said below a table: how its numbers were taken, and which of them to beware of; pure."""

import math
import statistics
from collections.abc import Mapping

import pandas as pd

from analysis.records.names import DISTANCES, Tag, deviation_name, last_metric, metric_of
from analysis.records.schema import SweepRecord
from analysis.statistics.estimates import values_of
from analysis.tables.columns import DASH, columns_of

# The tags that the sentence on bias takes.
COUNTED = (Tag.IMAGES_A, Tag.IMAGES_B, Tag.DIMENSIONS, Tag.KID_SUBSET_SIZE)


def legend(record: SweepRecord, cells: pd.DataFrame) -> str:
    """The sentences that explain the table."""
    values = values_of(record)
    shown = [column.metric for column in columns_of(values, None)]
    sentences = ["Mean ± standard deviation over n seeds; last: at the end of training, best: at the best evaluation."]
    if any(f"less that of {record.default}" in title for title in cells):
        sentences.append(
            f"Less that of {record.default}: mean of the differences seed by seed, with Student's 95 % interval, each "
            "row by itself."
        )
    if "Negs" in cells and cells["Negs"].str.contains("+", regex=False).any():
        sentences.append("Negs: internal + external.")
    sentences += [note for metric in shown if (note := metric_of(metric).note)]
    for frechet, kernel in DISTANCES:
        if last_metric(frechet) in shown:
            sentences += _biases(record, frechet, kernel)
    sentences += [f"{DASH}: no value."] if (cells == DASH).any(axis=None) else []
    return " ".join(sentences)


def bias_sentence(
    frechet: str, kernel: str, made_with: Mapping[str, str], deviation: float, what: str = "standard deviation"
) -> str:
    """That a Fréchet distance is biased, where images are fewer than dimensions, and how far its kernel distance can be
    trusted instead; '' where they are not fewer, or where nothing is recorded of them.

    frechet, kernel: the distances' names as recorded. made_with: a trial's tags. deviation: of the kernel distance
    over subsets; nan where there is none. what: what the deviation is called.
    """
    if not all(made_with.get(name) for name in (Tag.IMAGES_A, Tag.IMAGES_B, Tag.DIMENSIONS)):
        return ""
    dimensions = int(made_with[Tag.DIMENSIONS])
    fewer = [count for count in (made_with[Tag.IMAGES_A], made_with[Tag.IMAGES_B]) if int(count) < dimensions]
    if not fewer:
        return ""
    biased, unbiased = metric_of(last_metric(frechet)), metric_of(last_metric(kernel))
    subset = made_with.get(Tag.KID_SUBSET_SIZE)
    moves = f"; over subsets of {subset} images it moves by {deviation:.{unbiased.digits}f} ({what})"
    return (
        f"{biased.label} is biased here: {' and '.join(fewer)} images are fewer than its {dimensions} dimensions. "
        f"{unbiased.label} is not{moves if subset and not math.isnan(deviation) else ''}."
    )


def _biases(record: SweepRecord, frechet: str, kernel: str) -> list[str]:
    """The sentence, once for each way in which the trials with this distance were counted."""
    deviations: dict[tuple[str, ...], list[float]] = {}
    for trial in record.finished:
        if not math.isnan(trial[last_metric(frechet)]):
            counts = tuple(trial[name] for name in COUNTED)
            deviations.setdefault(counts, []).append(trial.get(last_metric(deviation_name(kernel)), math.nan))
    sentences: list[str] = []
    for counts, of_trials in deviations.items():
        known = [deviation for deviation in of_trials if not math.isnan(deviation)]
        mean = statistics.fmean(known) if known else math.nan
        made_with: dict[str, str] = dict(zip(COUNTED, counts, strict=True))
        sentences.append(bias_sentence(frechet, kernel, made_with, mean, "standard deviation, mean of the trials"))
    return [sentence for sentence in sentences if sentence]
