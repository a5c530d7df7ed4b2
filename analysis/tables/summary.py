"""What a sweep's numbers show, in a few sentences that claim no more than the 95 % intervals support; pure."""

import shlex
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import pandas as pd

from analysis.records.names import MEMORY_METRICS, SECONDS_PER_ITERATION, last_metric, metric_of, score_label
from analysis.records.schema import SweepRecord
from analysis.statistics.estimates import Estimate, differences, main_score, rows_scored_differently, summary, values_of
from analysis.tables.table import SAMPLE, signed

# Rows that a sentence names; the others are counted.
MOST_NAMED = 4
# What `just train` records its trial as.
SINGLE = "single"
FEWEST_SEEDS = 3


@dataclass(frozen=True)
class Wording:
    """How sentences about a metric begin, for rows with lower, higher, unclear and equal values; and its unit.

    {} stands for what rows are compared with.
    """

    lower: str
    higher: str
    unclear: str
    equal: str
    unit: str = ""


MEMORY_WORDING = Wording(
    "Less memory than {}", "More memory than {}", "No clear difference in memory to {}", "Same memory as {}", " GB"
)
TIME_WORDING = Wording(
    "Faster than {}", "Slower than {}", "No clear difference in speed to {}", "Same speed as {}", " s/iteration"
)


def score_wording(score: str) -> Wording:
    """Return the wording for a distance, of which lower is better."""
    starts = ("Better than", "Worse than", "No clear winner against", "Equal to")
    return Wording(*(f"{start} {{}} in {score_label(score)} at the end of training" for start in starts))


def summary_sentences(record: SweepRecord) -> tuple[str, ...]:
    """Return a paragraph on the quality of the rows compared with the baseline, and one on their cost.

    A row is better or worse where the 95 % interval of the difference, paired by seed, does not contain 0.
    """
    values = values_of(record)
    score = main_score(values)
    if score is None:
        return ("No trial is finished yet.",)
    if len(record.rows) == 1:
        return ("The sweep has only one row: nothing to compare.",)
    best = _best_sample(record, values, score)
    seeds = list(dict.fromkeys(int(seed) for seed in record.runs.index.get_level_values("seed")))
    if len(seeds) == 1:
        more = [*seeds, *(seed for seed in range(len(seeds) + FEWEST_SEEDS) if seed not in seeds)][:FEWEST_SEEDS]
        return (best or f"Only one seed: no conclusions. Add two: {sweep_command(record, more)}",)
    reference, metric = quoted(record.default), last_metric(score)
    memory = [name for name in MEMORY_METRICS if name in values][:1]
    wordings = dict.fromkeys(memory, MEMORY_WORDING) | (
        {SECONDS_PER_ITERATION: TIME_WORDING} if SECONDS_PER_ITERATION in values else {}
    )
    others = [row.row for row in record.rows if row.row != record.default]
    deltas = {name: differences(values, name, record.default) for name in (metric, *wordings)}
    found = {name: {row: of_rows[row] for row in others} for name, of_rows in deltas.items()}
    otherwise = rows_scored_differently(record)
    quality = difference_sentences(found[metric], metric, score_wording(score), reference, otherwise)
    costs = [
        sentence
        for name, wording in wordings.items()
        for sentence in difference_sentences(found[name], name, wording, reference)
        # One note about the same rows is enough.
        if sentence not in quality
    ]
    paragraphs = ([best] if best else [], quality, costs)
    return tuple(" ".join(paragraph) for paragraph in paragraphs if paragraph)


def sweep_command(record: SweepRecord, seeds: Sequence[int]) -> str:
    """Return the command line that trains these seeds of the recorded sweep, or of the trial of `just train`."""
    listed = ",".join(map(str, seeds))
    if record.sweep == SINGLE:
        return shlex.join(["just", "train", *record.command, f"seed={listed}"])
    return shlex.join(["just", "sweep", record.file or record.sweep, *record.command, f"seeds=[{listed}]"])


def difference_sentences(
    found: Mapping[str, Estimate], metric: str, wording: Wording, reference: str, incomparable: Set[str] = frozenset()
) -> list[str]:
    """Return a sentence for each group of rows: lower, higher, unclear, equal, one seed, no seed, incomparable.

    found: differences to the reference by row. incomparable: rows whose scores were measured differently.
    """
    digits = metric_of(metric).digits
    known = {row: line for row, line in found.items() if line.n > 1 and row not in incomparable}
    equal = [row for row, line in known.items() if not (round(line.low, digits) or round(line.high, digits))]
    visible = {row: line for row, line in known.items() if row not in equal and round(line.mean, digits)}
    lower = [row for row, line in visible.items() if line.high < 0]
    higher = [row for row, line in visible.items() if line.low > 0]
    unclear = [row for row in known if row not in (*lower, *higher, *equal)]
    groups = {wording.lower: lower, wording.higher: higher, wording.unclear: unclear}
    sentences = [
        f"{start.format(reference)}: {_named([_spelt(row, found[row], digits, wording.unit) for row in rows])}."
        for start, rows in groups.items()
        if rows
    ]
    rest = {
        wording.equal.format(reference): equal,
        "Only one seed, so no conclusion": [row for row in found if found[row].n == 1 and row not in incomparable],
        f"No finished seed in common with {reference}": [
            row for row in found if not found[row].n and row not in incomparable
        ],
        "Not compared, because the score was measured differently": [row for row in found if row in incomparable],
    }
    return sentences + [f"{start}: {_named([*map(quoted, rows)])}." for start, rows in rest.items() if rows]


def quoted(row: str) -> str:
    """Return a row's name in quotation marks, since it may be words like any other."""
    return f"“{row}”"


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


def _spelt(row: str, line: Estimate, digits: int, unit: str) -> str:
    """Return a row with its difference and the interval."""
    mean, low, high = (signed(value, digits) for value in (line.mean, line.low, line.high))
    spread = f"in all {line.n} seeds" if low == high else f"95 % CI {low} to {high}, {line.n} seeds"
    return f"{quoted(row)} {mean}{unit} ({spread})"


def _named(rows: list[str]) -> str:
    """Join rows; beyond the first few they are only counted."""
    named, more = rows[:MOST_NAMED], len(rows) - MOST_NAMED
    parts = [*named, *([f"{more} more"] if more > 0 else [])]
    return " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)
