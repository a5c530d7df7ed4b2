"""What the numbers of a sweep say, in two sentences that state what the intervals support and nothing else; pure."""

from collections.abc import Mapping, Sequence, Set

from analysis.records.names import MEMORY_METRICS, SECONDS_PER_ITERATION, last_metric, metric_of, score_label
from analysis.records.schema import SweepRecord
from analysis.statistics.comparability import rows_scored_differently
from analysis.statistics.estimates import Estimate, by_row, differences, main_score, values_of
from analysis.tables.table import signed

# Rows told with their numbers; the others are counted.
MOST_NAMED = 4


def findings(record: SweepRecord) -> tuple[str, ...]:
    """One sentence on the quality of the rows against the default one, and one on their cost.

    A row is said to be better or worse where the 95 % interval of the difference paired by seed lies on one side of 0.
    """
    values = values_of(record)
    score = main_score(values)
    if score is None:
        return ("No trial is finished yet, so there is nothing to compare.",)
    if len(record.rows) == 1:
        return ("The sweep has one row, so there is nothing to compare it with.",)
    against = {last_metric(score): f"{score_label(score)} at the end of training"}
    memory = [name for name in MEMORY_METRICS if name in values][:1]
    against |= dict.fromkeys(memory, "peak memory of training in GB")
    against |= {SECONDS_PER_ITERATION: "time per iteration in seconds"} if SECONDS_PER_ITERATION in values else {}
    others = [row.row for row in record.rows if row.row != record.default]
    clauses: list[str] = []
    for metric, what in against.items():
        found = by_row(differences(values, metric, record.default))
        clauses.append(clause({row: found[row] for row in others}, metric, what, rows_scored_differently(record)))
    quality, *costs = clauses
    said = [f"Against {quoted(record.default)}, {quality}.", *([f"As to cost, {'; '.join(costs)}."] if costs else [])]
    return tuple(said)


def clause(found: Mapping[str, Estimate], metric: str, what: str, otherwise: Set[str] = frozenset()) -> str:
    """In what rows differ by a metric, from their differences as `estimates` gives them: nothing that an interval does
    not support, and nothing that the digits shown do not show.

    what: what the metric is called. otherwise: rows whose scores were taken in another way.
    """
    digits = metric_of(metric).digits
    scored = otherwise if metric.startswith(last_metric("")) else frozenset[str]()
    known = {row: line for row, line in found.items() if line.n > 0 and row not in scored}
    told = {row: line for row, line in known.items() if line.n > 1}
    if not known and not scored:
        return f"nothing can be said about {what}, since no seed is finished on both sides"
    if known and not told and len(known) == len(found):
        return f"one seed gives no interval, so nothing can be said about {what}"
    lower = {row: line for row, line in told.items() if line.high < 0 and round(line.mean, digits)}
    higher = {row: line for row, line in told.items() if line.low > 0 and round(line.mean, digits)}
    rest = {row: line for row, line in told.items() if row not in lower and row not in higher}
    said = [f"is lower for {_listed(lower, digits)}"] if lower else []
    said += [f"is higher for {_listed(higher, digits)}"] if higher else []
    said += [f"is not shown to differ for {_listed(rest, digits)}"] if rest else []
    single = [row for row in known if row not in told]
    said += [f"has no interval for {_names(single)}, by one seed"] if single else []
    unpaired = [row for row in found if row not in known and row not in scored]
    said += [f"is not known for {_names(unpaired)}, by no seed on both sides"] if unpaired else []
    unlike = [row for row in found if row in scored]
    said += [f"is not compared for {_names(unlike)}, scored in another way"] if unlike else []
    return f"{what} {', '.join(said[:-1])}{' and ' if said[:-1] else ''}{said[-1]}"


def _listed(found: Mapping[str, Estimate], digits: int) -> str:
    """Rows with their difference and its interval."""
    spelt: list[str] = []
    for row, line in list(found.items())[:MOST_NAMED]:
        mean, low, high = (signed(value, digits) for value in (line.mean, line.low, line.high))
        spread = "in every seed" if low == high else f"95 % interval {low} to {high}"
        spelt.append(f"{quoted(row)} ({mean}, {spread}, {line.n} seeds)")
    return _joined(spelt, len(found))


def _names(rows: Sequence[str]) -> str:
    return _joined([quoted(row) for row in rows[:MOST_NAMED]], len(rows))


def quoted(row: str) -> str:
    """A row's name inside a sentence, where it may be words like any other."""
    return f"“{row}”"


def _joined(named: list[str], count: int) -> str:
    more = [f"{count - len(named)} more"] if count > len(named) else []
    parts = [*named, *more]
    return ", ".join(parts[:-1]) + (" and " if parts[:-1] else "") + parts[-1]
