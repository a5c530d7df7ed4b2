"""The text below a table: what its columns mean, and which numbers to be careful with; pure."""

import math
import statistics
from collections.abc import Mapping

import pandas as pd

from analysis.records.names import DISTANCES, Tag, best_metric, deviation_name, last_metric, metric_of
from analysis.records.schema import SweepRecord
from analysis.statistics.collapse import collapsed_counts, has_collapsed
from analysis.statistics.comparisons import LEVEL, compare_rows, detectable_ratio
from analysis.statistics.estimates import content_scores, main_score, values_of
from analysis.tables.columns import DASH, columns_of
from analysis.tables.table import delta_title

# The tags that the sentence on bias needs.
COUNT_TAGS = [Tag.IMAGES_A, Tag.IMAGES_B, Tag.DIMENSIONS, Tag.KID_SUBSET_SIZE]


def caption(record: SweepRecord, cells: pd.DataFrame) -> str:
    """Return the sentences that explain the table."""
    values = values_of(record)
    shown = [column.metric for column in columns_of(values, None) if column.title in cells]
    sentences = ["Cells: mean ± standard deviation over n seeds. Last: at the end of training."]
    if any(metric.startswith(best_metric("")) for metric in shown):
        sentences.append("Best: of the evaluation with the lowest distance, so it flatters.")
    if collapsed_counts(record):
        sentences.append("Scores leave collapsed trials out; costs count them.")
    if delta_title(record) in cells:
        score = list(cells)[list(cells).index(delta_title(record)) - 1].rstrip(" ↓")
        sentences.append(
            f"Δ: mean difference to {record.default} in {score}, over paired seeds, with the 95 % t-interval (CI) of "
            "that row alone."
        )
    sentences += _test_sentences(record, values)
    if "Negs" in cells and cells["Negs"].str.contains("+", regex=False).any():
        sentences.append("Negs: internal + external negatives.")
    sentences += dict.fromkeys(note for metric in shown if (note := metric_of(metric).note))
    # The recorded number of dimensions is that of the distance by which rows are compared.
    frechet, kernels = main_score(values), dict(DISTANCES)
    if frechet in kernels:
        sentences += _bias_sentences(record, frechet, kernels[frechet])
    sentences += [f"{DASH}: no value."] if (cells == DASH).any(axis=None) else []
    return " ".join(sentences)


def _test_sentences(record: SweepRecord, values: pd.DataFrame) -> list[str]:
    """Return what a star means, and how large a difference must be to get one."""
    scores = [*filter(None, [main_score(values)]), *content_scores(values)]
    compared = [found for score in scores for found in compare_rows(record, values, last_metric(score)).values()]
    tested = [found for found in compared if found.difference.n > 1]
    if not tested:
        return []
    # Most rows have as many seeds.
    rows, seeds = max(found.tests for found in tested), statistics.mode(found.difference.n for found in tested)
    alone, first = detectable_ratio(seeds, LEVEL), detectable_ratio(seeds, LEVEL / rows)
    needs = f"With {seeds} seeds, a star needs a mean difference of {alone:.1f} times its standard deviation over seeds"
    if rows == 1:
        return [f"*: told apart from {record.default} (paired t-test, p < 0.05).", f"{needs}."]
    return [
        f"*: told apart from {record.default} (paired t-test, p < 0.05 after Holm's correction for {rows} rows).",
        f"{needs}, and the clearest of {rows} rows {first:.1f} times.",
    ]


def bias_sentence(frechet: str, kernel: str, made_with: Mapping[str, str], kernel_std: float, remark: str = "") -> str:
    """Return a warning that a Fréchet distance is biased, where there are fewer images than dimensions; else ''.

    frechet, kernel: the distances' names as recorded. made_with: a trial's tags; some may be missing in old records.
    kernel_std: of the kernel distance over subsets of the images, or nan. remark: where kernel_std comes from.
    """
    if not all(made_with.get(name) for name in (Tag.IMAGES_A, Tag.IMAGES_B, Tag.DIMENSIONS)):
        return ""
    dimensions = int(made_with[Tag.DIMENSIONS])
    fewer = [count for count in (made_with[Tag.IMAGES_A], made_with[Tag.IMAGES_B]) if int(count) < dimensions]
    if not fewer:
        return ""
    biased, unbiased = metric_of(last_metric(frechet)), metric_of(last_metric(kernel))
    text = (
        f"{biased.label} is biased upwards: {' and '.join(fewer)} images are fewer than its {dimensions} "
        f"dimensions. Compare {unbiased.label}, which is unbiased."
    )
    subset = made_with.get(Tag.KID_SUBSET_SIZE)
    if subset and not math.isnan(kernel_std):
        text += f" Its standard deviation over subsets of {subset} images is {kernel_std:.{unbiased.digits}f}"
        text += f" ({remark})." if remark else "."
    return text


def _bias_sentences(record: SweepRecord, frechet: str, kernel: str) -> list[str]:
    """Return one warning for each combination of image counts among the trials with this distance."""
    distance, deviation = last_metric(frechet), last_metric(deviation_name(kernel))
    scored = [trial for trial in record.finished if not has_collapsed(trial)]
    trials = pd.DataFrame(scored).reindex(columns=[*COUNT_TAGS, distance, deviation])
    sentences: list[str] = []
    for _, of_counts in trials.dropna(subset=[distance]).groupby(COUNT_TAGS, sort=False):
        known = of_counts[deviation].dropna().tolist()
        mean = statistics.fmean(known) if known else math.nan
        sentences.append(bias_sentence(frechet, kernel, of_counts.iloc[0].to_dict(), mean, "mean of the trials"))
    return [sentence for sentence in sentences if sentence]
