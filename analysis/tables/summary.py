"""What a sweep's numbers show, in a few sentences that claim no more than paired t-tests support; pure."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.records.names import (
    MEMORY_METRICS,
    SECONDS_PER_ITERATION,
    SINGLE,
    last_metric,
    metric_of,
    score_label,
    source_metric,
)
from analysis.records.schema import SweepRecord
from analysis.statistics.comparisons import compare_rows
from analysis.statistics.convergence import still_falling
from analysis.statistics.estimates import content_scores, main_score, rows_scored_differently, summary, values_of
from analysis.tables.paper_order import paper_sentences
from analysis.tables.sentences import (
    Wording,
    collapse_sentences,
    difference_sentences,
    falling_sentences,
    named,
    quoted,
    score_wording,
)
from analysis.tables.table import SAMPLE

FEWEST_SEEDS = 3

MEMORY_WORDING = Wording(
    "Less memory than {}", "More memory than {}", "No clear difference in memory to {}", "Same memory as {}", " GB"
)
TIME_WORDING = Wording(
    "Faster than {}", "Slower than {}", "No clear difference in speed to {}", "Same speed as {}", " s/iteration"
)


def summary_sentences(record: SweepRecord, course: pd.DataFrame, paper: Mapping[str, Any]) -> tuple[str, ...]:
    """Return paragraphs on the rows compared with the baseline: by distance, content, the paper's order, and cost.

    First come seeds that were trained and are left out, which trials have collapsed, and which rows have not converged.
    course: of the distance by which rows are compared. paper: from `load_paper`.
    """
    values = values_of(record)
    score, others = main_score(values), _other_seeds(record)
    if score is None:
        return (*others, "No finished trial has a distance." if record.finished else "No trial is finished yet.")
    seeds = list(dict.fromkeys(int(seed) for seed in record.runs.index.get_level_values("seed")))
    falling = falling_sentences(still_falling(record, course), score, len(seeds))
    first = (*others, *collapse_sentences(record), *falling)
    if len(record.rows) == 1:
        return (*first, "The sweep has only one row: nothing to compare.")
    if len(seeds) == 1:
        return (*first, _of_one_seed(record, values, score, seeds[0]), *_no_better_than_source(record, values, score))
    memory = [name for name in MEMORY_METRICS if name in values][:1]
    times = [name for name in (SECONDS_PER_ITERATION,) if name in values]
    wordings = (
        {last_metric(score): score_wording(score)},
        {last_metric(content): score_wording(content) for content in content_scores(values)},
        dict.fromkeys(memory, MEMORY_WORDING) | dict.fromkeys(times, TIME_WORDING),
    )
    said: dict[str, None] = {}
    texts: list[str] = []
    for paragraph in wordings:
        # One note about the same rows is enough.
        sentences = [one for one in _compared(record, values, paragraph) if one not in said]
        said |= dict.fromkeys(sentences)
        texts.append(" ".join(sentences))
    *scores, costs = texts
    scores += _no_better_than_source(record, values, score)
    in_paper = " ".join(paper_sentences(record, values, paper))
    return tuple(text for text in (*first, *scores, in_paper, costs) if text)


def _no_better_than_source(record: SweepRecord, values: pd.DataFrame, score: str) -> tuple[str, ...]:
    """Return which rows are, on average, no nearer to B than the untranslated images, and in how many seeds."""
    sources = values[source_metric(score)].dropna() if source_metric(score) in values else pd.Series(dtype=float)
    if sources.empty:
        return ()
    source, otherwise = sources.iloc[0], rows_scored_differently(record)
    means = {row: found for row, found in summary(values, last_metric(score)).items() if found.n}
    no_nearer = [row for row in means if means[row].mean >= source and row not in otherwise]
    untranslated = f"the untranslated images ({score_label(score)} {source:.{metric_of(last_metric(score)).digits}f})"
    several = any(found.n > 1 for found in means.values())
    if no_nearer == [row for row in means if row not in otherwise]:
        return (f"No row is{', on average,' * several} nearer to B than {untranslated}.",) if no_nearer else ()
    counts = (values[last_metric(score)] >= source).groupby(level="row").sum()
    rows = [f"{quoted(row)}{f' ({counts[row]} of {means[row].n} seeds)' * several}" for row in no_nearer]
    return (f"{'On average no' if several else 'No'} nearer to B than {untranslated}: {named(rows)}.",) if rows else ()


def _other_seeds(record: SweepRecord) -> tuple[str, ...]:
    """Return which seeds are trained and not in the table, since the last call did not ask for them."""
    if not record.other_seeds or record.sweep == SINGLE or _samples(record):
        return ()
    rows, asked = len(record.rows), record.runs.index.get_level_values("seed")
    seeds = [f"{seed}{f' ({n} of {rows} rows)' if n < rows else ''}" for seed, n in record.other_seeds.items()]
    them = "them" if len(seeds) > 1 else "it"
    every = sweep_command(record, sorted({*map(int, asked), *record.other_seeds}))
    return (
        f"Seed{'s' * (len(seeds) > 1)} {', '.join(seeds)} {_is(seeds)} trained and not in this table, because the last "
        f"call did not ask for {them}. To include: {every}",
    )


def _of_one_seed(record: SweepRecord, values: pd.DataFrame, score: str, seed: int) -> str:
    """Return the result of a search, or what to do next."""
    if _samples(record):
        unfinished = f"No sample has a score at its end yet. Resume with: {sweep_command(record, [seed])}"
        return _search_sentences(record, values, score) or unfinished
    more = [seed, *(other for other in range(FEWEST_SEEDS) if other != seed)][:FEWEST_SEEDS]
    return f"Only one seed: no conclusions. Add two: {sweep_command(record, more)}"


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


def _search_sentences(record: SweepRecord, values: pd.DataFrame, score: str) -> str:
    """Return the best sample of a search, how far the next and the default row are, and what to do; '' if none is."""
    found, otherwise = summary(values, last_metric(score)), rows_scored_differently(record)
    means = {row: found[row].mean for row in _samples(record) if found[row].n and row not in otherwise}
    if not means:
        return ""
    best, *others = sorted(means, key=means.__getitem__)
    digits = metric_of(last_metric(score)).digits
    behind = [_behind(row, means[row], means[best], digits) for row in others[:1]]
    if found[record.default].n and record.default not in otherwise:
        behind.append(_behind(record.default, found[record.default].mean, means[best], digits))
    sentences = [
        f"Best of {len(means)} samples that were trained to the end, by {score_label(score)}: {quoted(best)} "
        f"({means[best]:.{digits}f}).",
        *([f"{'; '.join(behind)}."] if behind else []),
        "One seed each: a hint, not a result.",
        f"Next, train the best with three seeds: {shlex.join(['just', 'promote', record.file or record.sweep])}",
    ]
    return " ".join(sentences)


def _samples(record: SweepRecord) -> list[str]:
    """Return the rows that a search has sampled."""
    return [row.row for row in record.rows if row.row.startswith(SAMPLE) and row.row != record.default]


def _behind(row: str, mean: float, best: float, digits: int) -> str:
    distance = mean - best
    side = "behind" if distance >= 0 else "ahead"
    return f"{quoted(row)} ({mean:.{digits}f}) is {abs(distance):.{digits}f} {side}"


def _is(things: Sequence[str]) -> str:
    return "is" if len(things) == 1 else "are"
