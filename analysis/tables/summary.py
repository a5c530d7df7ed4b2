"""What a sweep's numbers show, in a few sentences that claim no more than paired t-tests support; pure."""

import shlex
from collections.abc import Mapping, Sequence

import pandas as pd

from analysis.records.names import MEMORY_METRICS, SECONDS_PER_ITERATION, last_metric, metric_of, score_label
from analysis.records.schema import SweepRecord
from analysis.statistics.comparisons import compare_rows
from analysis.statistics.estimates import content_scores, main_score, rows_scored_differently, summary, values_of
from analysis.tables.sentences import Wording, collapse_sentences, difference_sentences, quoted, score_wording
from analysis.tables.table import SAMPLE

# What `just train` records its trial as.
SINGLE = "single"
FEWEST_SEEDS = 3

MEMORY_WORDING = Wording(
    "Less memory than {}", "More memory than {}", "No clear difference in memory to {}", "Same memory as {}", " GB"
)
TIME_WORDING = Wording(
    "Faster than {}", "Slower than {}", "No clear difference in speed to {}", "Same speed as {}", " s/iteration"
)


def summary_sentences(record: SweepRecord) -> tuple[str, ...]:
    """Return paragraphs on the rows compared with the baseline: by distance, by content, and by cost.

    First comes how many trials have collapsed.
    """
    values = values_of(record)
    score = main_score(values)
    if score is None:
        return ("No trial is finished yet.",)
    collapsed = collapse_sentences(record)
    if len(record.rows) == 1:
        return (*collapsed, "The sweep has only one row: nothing to compare.")
    best = _best_sample(record, values, score)
    seeds = list(dict.fromkeys(int(seed) for seed in record.runs.index.get_level_values("seed")))
    if len(seeds) == 1:
        more = [*seeds, *(seed for seed in range(len(seeds) + FEWEST_SEEDS) if seed not in seeds)][:FEWEST_SEEDS]
        return (*collapsed, best or f"Only one seed: no conclusions. Add two: {sweep_command(record, more)}")
    memory = [name for name in MEMORY_METRICS if name in values][:1]
    times = [name for name in (SECONDS_PER_ITERATION,) if name in values]
    paragraphs = (
        {last_metric(score): score_wording(score)},
        {last_metric(content): score_wording(content) for content in content_scores(values)},
        dict.fromkeys(memory, MEMORY_WORDING) | dict.fromkeys(times, TIME_WORDING),
    )
    said: dict[str, None] = {}
    texts: list[str] = []
    for wordings in paragraphs:
        # One note about the same rows is enough.
        sentences = [one for one in _compared(record, values, wordings) if one not in said]
        said |= dict.fromkeys(sentences)
        texts.append(" ".join(sentences))
    return tuple(text for text in (*collapsed, best, *texts) if text)


def _compared(record: SweepRecord, values: pd.DataFrame, wordings: Mapping[str, Wording]) -> list[str]:
    """Return the sentences on each metric of the rows compared with the default row."""
    sentences: list[str] = []
    for metric, wording in wordings.items():
        compared = compare_rows(record, values, metric)
        others = [row.row for row in record.rows if row.row != record.default and row.row not in compared]
        sentences += difference_sentences(compared, metric, wording, quoted(record.default), others)
    return sentences


def sweep_command(record: SweepRecord, seeds: Sequence[int]) -> str:
    """Return the command line that trains these seeds of the recorded sweep, or of the trial of `just train`."""
    listed = ",".join(map(str, seeds))
    if record.sweep == SINGLE:
        return shlex.join(["just", "train", *record.command, f"seed={listed}"])
    return shlex.join(["just", "sweep", record.file or record.sweep, *record.command, f"seeds=[{listed}]"])


def _best_sample(record: SweepRecord, values: pd.DataFrame, score: str) -> str:
    """Return the best sample of a search, where each has one seed; '' for other sweeps."""
    found = summary(values, last_metric(score))
    excluded, digits = rows_scored_differently(record), metric_of(last_metric(score)).digits
    samples = [row.row for row in record.rows if row.row.startswith(SAMPLE) and row.row not in excluded]
    means = {row: found[row].mean for row in samples if found[row].n}
    if not means or any(found[row].n > 1 for row in samples):
        return ""
    best = min(means, key=means.__getitem__)
    default = found[record.default]
    compared = f"; {quoted(record.default)} {default.mean:.{digits}f}" if default.n else ""
    return (
        f"Best of {len(means)} samples by {score_label(score)}: {quoted(best)} ({means[best]:.{digits}f}{compared}). "
        f"One seed each: a hint, not a result. Next: {shlex.join(['just', 'promote', record.file or record.sweep])}"
    )
