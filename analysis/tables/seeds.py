"""How many seeds would tell rows apart, from the spread of the seeds that are there; pure."""

from analysis.records.names import last_metric, metric_of
from analysis.records.schema import SweepRecord
from analysis.statistics.comparisons import Comparison, compare_rows
from analysis.statistics.estimates import content_scores, main_score, values_of
from analysis.statistics.power import POWER
from analysis.tables.sentences import quoted, seeds_for
from analysis.tables.table import signed


def seeds_lines(record: SweepRecord) -> list[str]:
    """Return a line for each score, behind one on what it says; none where no row has two seeds to compare."""
    values = values_of(record)
    main = main_score(values)
    lines: list[str] = []
    for score in (*([main] if main else []), *content_scores(values)):
        metric = metric_of(last_metric(score))
        compared = compare_rows(record, values, last_metric(score))
        texts = [_spelt(row, found, metric.digits) for row, found in compared.items() if found.difference.n > 1]
        lines += [f"{metric.label}: {'; '.join(texts)}."] if texts else []
    level = " divided by the number of rows" if len(record.rows) > 2 else ""
    head = (
        f"Seeds needed to tell a row apart from {quoted(record.default)} with {100 * POWER:.0f} % power "
        f"(at 5 %{level}), for the difference seen / for half of it. Rough, since the spread is of few seeds:"
    )
    return [head, *lines] if lines else []


def _spelt(row: str, found: Comparison, digits: int) -> str:
    line = found.difference
    if not round(line.mean, digits):
        return f"{quoted(row)} no difference seen"
    seen = f"difference {signed(line.mean, digits)}, spread {line.std:.{digits}f}, {line.n} seeds"
    return f"{quoted(row)} {seeds_for(found)} / {seeds_for(found, 0.5)} ({seen})"
