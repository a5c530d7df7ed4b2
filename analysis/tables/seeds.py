"""How many seeds would tell rows apart, from the spread of the seeds that are there; pure."""

from dataclasses import dataclass

from analysis.records.names import last_metric, metric_of, score_label
from analysis.records.schema import SweepRecord
from analysis.statistics.comparisons import compare_rows
from analysis.statistics.estimates import content_scores, main_score, values_of
from analysis.statistics.power import POWER
from analysis.tables.sentences import quoted, seeds_for
from analysis.tables.table import signed


@dataclass(frozen=True)
class Need:
    """The seeds that would tell a row apart from the default row by a score, for the difference seen and for half.

    Both are texts: a number, 'more than …', or '' where no difference is seen. difference, spread: the mean and the
    standard deviation of the paired differences over so many seeds.
    """

    score: str
    row: str
    difference: float
    spread: float
    seeds: int
    needed: str
    needed_for_half: str


def needed_seeds(record: SweepRecord) -> list[Need]:
    """Return the seeds needed by each score and row; none where no row has two seeds to compare."""
    values = values_of(record)
    main = main_score(values)
    needs: list[Need] = []
    for score in (*([main] if main else []), *content_scores(values)):
        digits = metric_of(last_metric(score)).digits
        for row, found in compare_rows(record, values, last_metric(score)).items():
            line = found.difference
            needed = (seeds_for(found), seeds_for(found, 0.5)) if round(line.mean, digits) else ("", "")
            needs += [Need(score, row, line.mean, line.std, line.n, *needed)] if line.n > 1 else []
    return needs


def seeds_lines(record: SweepRecord) -> list[str]:
    """Return a line for each score, behind one on what it says; none where no row has two seeds to compare."""
    by_score: dict[str, list[str]] = {}
    for need in needed_seeds(record):
        by_score.setdefault(need.score, []).append(_spelt(need))
    lines = [f"{score_label(score)}: {'; '.join(texts)}." for score, texts in by_score.items()]
    level = " divided by the number of rows" if len(record.rows) > 2 else ""
    head = (
        f"Seeds needed to tell a row apart from {quoted(record.default)} with {100 * POWER:.0f} % power "
        f"(at 5 %{level}), for the difference seen / for half of it. Rough, since the spread is of few seeds:"
    )
    return [head, *lines] if lines else []


def _spelt(need: Need) -> str:
    if not need.needed:
        return f"{quoted(need.row)} no difference seen"
    digits = metric_of(last_metric(need.score)).digits
    seen = f"difference {signed(need.difference, digits)}, spread {need.spread:.{digits}f}, {need.seeds} seeds"
    return f"{quoted(need.row)} {need.needed} / {need.needed_for_half} ({seen})"
