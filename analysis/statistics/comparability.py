"""Which scores can be compared: those that were computed in the same way; pure."""

from collections import Counter

from analysis.records.names import SCORE_TAGS
from analysis.records.schema import SweepRecord


def rows_scored_differently(record: SweepRecord) -> set[str]:
    """Return the rows with scores that were not computed as those of the default row."""
    computed: dict[str, set[tuple[str, ...]]] = {row.row: set() for row in record.rows}
    for trial in record.finished:
        computed[trial["row"]].add(tuple(trial[tag] for tag in SCORE_TAGS))
    default = computed[record.default]
    same = len(default) <= 1
    return {row for row, of_row in computed.items() if of_row and default and not (same and of_row == default)}


def tag_values(record: SweepRecord, tag: str) -> str:
    """Return the values of a tag among the finished trials, sorted."""
    return ", ".join(sorted({trial[tag] for trial in record.finished if trial[tag]}))


def tag_differences(record: SweepRecord) -> list[str]:
    """Return each tag of `SCORE_TAGS` in which finished trials differ: 'layer (64 in 1, 192 in 3)'."""
    found: list[str] = []
    for tag, name in SCORE_TAGS.items():
        counts = Counter(trial[tag] for trial in record.finished if trial[tag])
        if len(counts) > 1:
            found.append(f"{name} ({', '.join(f'{value} in {count}' for value, count in counts.items())})")
    return found
