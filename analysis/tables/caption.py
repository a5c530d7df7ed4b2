"""What must be said below a table: how its numbers were taken, and which of them to beware of; pure."""

import math
import statistics
from collections.abc import Mapping

import pandas as pd

from analysis.records.schema import SweepRecord
from analysis.statistics.estimates import values_of
from analysis.tables.columns import COLUMN_OF, DASH, SCORE_LABELS, columns_of

# A Fréchet distance, and the kernel distance of the same features.
DISTANCES = (("fid", "kid"), ("fd_small_conv", "kd_small_conv"))
# The tags that the sentence on bias takes.
COUNTED = ("images_a", "images_b", "dimensions", "kid_subset_size")
# How what a column shows was measured.
MEASURED = {
    "cost/seconds_per_iteration": (
        "Seconds per iteration: median after warm-up, one pair of images, waiting for data left out."
    ),
    "cost/training_peak_live_gb": "Live tensors: bytes of storages alive at once.",
}


def legend(record: SweepRecord, cells: pd.DataFrame) -> str:
    """The sentences that explain the table."""
    values = values_of(record)
    shown = {column.metric for column in columns_of(values, record.price_per_hour)}
    sentences = ["Mean ± standard deviation over n seeds; last: at the end of training, best: at the best evaluation."]
    if any(f"less that of {record.default}" in title for title in cells):
        sentences.append(
            f"Less that of {record.default}: mean of the differences seed by seed, with Student's 95 % interval, each "
            "row by itself."
        )
    if "Negs" in cells and cells["Negs"].str.contains("+", regex=False).any():
        sentences.append("Negs: internal + external.")
    sentences += [how for metric, how in MEASURED.items() if metric in shown]
    for frechet, kernel in DISTANCES:
        if f"last/{frechet}" in shown:
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
    if not all(made_with.get(name) for name in ("images_a", "images_b", "dimensions")):
        return ""
    dimensions = int(made_with["dimensions"])
    fewer = [count for count in (made_with["images_a"], made_with["images_b"]) if int(count) < dimensions]
    if not fewer:
        return ""
    kernel_column = COLUMN_OF[f"last/{kernel}"]
    biased, unbiased, digits = SCORE_LABELS[frechet], kernel_column.label.removesuffix(", last"), kernel_column.digits
    subset = made_with.get("kid_subset_size")
    moves = f"; over subsets of {subset} images it moves by {deviation:.{digits}f} ({what})"
    return (
        f"{biased} is biased here: {' and '.join(fewer)} images are fewer than its {dimensions} dimensions. "
        f"{unbiased} is not{moves if subset and not math.isnan(deviation) else ''}."
    )


def _biases(record: SweepRecord, frechet: str, kernel: str) -> list[str]:
    """The sentence, once for each way in which the trials with this distance were counted."""
    deviations: dict[tuple[str, ...], list[float]] = {}
    for trial in record.finished:
        if not math.isnan(trial[f"last/{frechet}"]):
            counts = tuple(trial[name] for name in COUNTED)
            deviations.setdefault(counts, []).append(trial.get(f"last/{kernel}_std", math.nan))
    sentences: list[str] = []
    for counts, of_trials in deviations.items():
        known = [deviation for deviation in of_trials if not math.isnan(deviation)]
        mean = statistics.fmean(known) if known else math.nan
        made_with: dict[str, str] = dict(zip(COUNTED, counts, strict=True))
        sentences.append(bias_sentence(frechet, kernel, made_with, mean, "standard deviation, mean of the trials"))
    return [sentence for sentence in sentences if sentence]
