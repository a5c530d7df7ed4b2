"""Sentences on rows compared with another one, which claim no more than paired t-tests over seeds support; pure."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from analysis.records.names import CONTENT_SCORES, last_metric, metric_of
from analysis.records.schema import SweepRecord
from analysis.statistics.collapse import has_collapsed
from analysis.statistics.comparisons import LEVEL, Comparison, is_cost
from analysis.statistics.convergence import FALLS, FALLS_OF_ONE_SEED
from analysis.statistics.power import MOST_SEEDS, seeds_needed
from analysis.tables.table import signed

# Rows that a sentence names; the others are counted.
MOST_NAMED = 4
# More unclear rows than these are only named for a score of content, since there are many such scores.
MOST_SPELT = 2


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


def score_wording(score: str) -> Wording:
    """Return the wording for a score such as 'fid', of which lower or higher is better."""
    metric = metric_of(last_metric(score))
    sides = ("Better than", "Worse than") if metric.better == "lower" else ("Worse than", "Better than")
    end = f"in {metric.label}" if score in CONTENT_SCORES else f"in {metric.label} at the end of training"
    starts = (f"{start} {{}} {end}" for start in (*sides, "No clear winner against", "No difference to"))
    return Wording(*starts, unit=" points" if metric.unit == "%" else "")


def difference_sentences(
    found: Mapping[str, Comparison], metric: str, wording: Wording, reference: str, incomparable: Sequence[str] = ()
) -> list[str]:
    """Return a sentence for each group of rows: lower, higher, unclear, equal, one seed, no seed, incomparable.

    found: comparisons with the reference by row. incomparable: rows whose scores were measured differently.
    """
    digits = metric_of(metric).digits
    differences = {row: one.difference for row, one in found.items()}
    known = {row: line for row, line in differences.items() if line.n > 1}
    equal = [row for row, line in known.items() if not (round(line.low, digits) or round(line.high, digits))]
    clear = [row for row in known if row not in equal and found[row].told_apart]
    groups = {
        wording.lower: [row for row in clear if known[row].mean < 0],
        wording.higher: [row for row in clear if known[row].mean > 0],
        wording.unclear: [row for row in known if row not in (*clear, *equal)],
    }
    of_content = metric in [last_metric(score) for score in CONTENT_SCORES]
    briefly = {wording.unclear} if of_content and len(groups[wording.unclear]) > MOST_SPELT else set[str]()
    sentences: list[str] = []
    for start, rows in groups.items():
        texts = [quoted(row) if start in briefly else _spelt(row, found[row], metric, wording.unit) for row in rows]
        sentences += [f"{start.format(reference)}: {named(texts)}."] if rows else []
    exactly = not is_cost(metric) and all(known[row].mean == known[row].std == 0 for row in equal)
    start = wording.equal.format(reference) + ", equal in every seed" * exactly
    sentences += [f"{start}: {named(map(quoted, equal))}."] if equal else []
    rest = {
        "Only one seed, so no conclusion": [row for row, line in differences.items() if line.n == 1],
        f"No seed to compare with {reference}": [row for row, line in differences.items() if not line.n],
        "Not compared, because the score was measured differently": list(incomparable),
    }
    return sentences + [f"{start}: {named(map(quoted, rows))}." for start, rows in rest.items() if rows]


def collapse_sentences(record: SweepRecord) -> list[str]:
    """Return which trials have collapsed, by row and seed, in at most one sentence."""
    planned, collapsed = Counter(trial["row"] for trial in record.trials), defaultdict[str, list[str]](list)
    for trial in record.finished:
        if has_collapsed(trial):
            collapsed[trial["row"]].append(str(trial["seed"]))
    rows = [
        f"{quoted(row)} ({len(seeds)} of {planned[row]} trials: seed{'s' * (len(seeds) > 1)} {', '.join(seeds)})"
        for row, seeds in collapsed.items()
    ]
    return [f"Collapsed (all translations alike) and left out of scores: {named(rows)}."] if rows else []


def falling_sentences(falling: Mapping[str, tuple[float, float]], score: str, seeds: int) -> list[str]:
    """Return which rows were still getting better when their training ended, in at most one sentence.

    falling: from `still_falling`. seeds: how many the sweep has.
    """
    if not falling:
        return []
    metric = metric_of(last_metric(score))
    digits = metric.digits
    rows = [
        f"{quoted(row)} (mean {before:.{digits}f}, then {last:.{digits}f})" for row, (before, last) in falling.items()
    ]
    over = f"last {FALLS} evaluations in every seed" if seeds > 1 else f"last {FALLS_OF_ONE_SEED} evaluations"
    return [
        f"Not converged: {metric.label} still fell at each of the {over}: {named(rows)}. "
        "Longer training may change the result (train.constant_epochs, train.decay_epochs)."
    ]


def quoted(row: str) -> str:
    """Return a row's name in quotation marks, since it may be words like any other."""
    return f"“{row}”"


def named(texts: Iterable[str]) -> str:
    """Join texts about rows; beyond the first few they are only counted."""
    rows = list(texts)
    parts, more = rows[:MOST_NAMED], len(rows) - MOST_NAMED
    parts += [f"{more} more"] if more > 0 else []
    return " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)


def spelt_p(p: float) -> str:
    """Return a p value as text."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def seeds_for(found: Comparison, share: float = 1) -> str:
    """Return how many seeds would show a share of the difference seen; '' without two pairs that differ.

    The level is that of the first step of Holm's correction, which is the strictest.
    """
    line = found.difference
    if not line.mean or line.n < 2:
        return ""
    seeds = seeds_needed(share * line.mean, line.std, LEVEL / found.tests)
    return str(seeds) if seeds else f"more than {MOST_SEEDS}"


def _spelt(row: str, found: Comparison, metric: str, unit: str) -> str:
    """Return a row with its difference and the interval.

    Behind an unclear score stands why it cannot be clear, or how many seeds would show as much.
    """
    line, digits = found.difference, metric_of(metric).digits
    mean, low, high = (signed(value, digits) for value in (line.mean, line.low, line.high))
    # No value is farther from the mean than this.
    if line.std * (line.n - 1) / math.sqrt(line.n) < 0.5 * 10.0**-digits and not found.collapsed:
        return f"{quoted(row)} {mean}{unit} (in all {line.n} seeds)"
    tested = f"corrected {spelt_p(found.p)}, " if found.tests > 1 else ""
    advice = ""
    if found.collapsed:
        advice = f"; {found.collapsed} trial{'s' if found.collapsed > 1 else ''} collapsed"
    elif not (found.told_apart or is_cost(metric)) and round(line.mean, digits) and (needed := seeds_for(found)):
        advice = f"; {'about ' if needed.isdigit() else ''}{needed} would show it"
    return f"{quoted(row)} {mean}{unit} (95 % CI {low} to {high}, {tested}{line.n} seeds{advice})"
