"""Two records side by side: two sweeps, tasks, or result versions, by the statistics of a sweep's own table; pure."""

from dataclasses import dataclass

import pandas as pd

from analysis.columns import COLUMN_OF, DASH, SCORE_LABELS
from analysis.estimates import TIMES, between, by_row, main_score, summary, timed_alike, values_of
from analysis.findings import clause, quoted
from analysis.records import RecordsError, SweepRecord
from analysis.rendering import asked, in_markdown, markdown_table
from analysis.tables import SHARED, difference, mean_and_spread

# What is shown of both, where both have it.
COMPARED = (
    *("last/fid", "best/fid", "last/fd_small_conv", "best/fd_small_conv", "last/background_change"),
    *("cost/seconds_per_iteration", "cost/training_peak_live_gb", "cost/training_peak_allocated_gb"),
)
# What is told of both sides where they differ in it: the tag of their trials, and what a reader calls it.
TOLD = {"commit": "commit", "data_fingerprint": "data", "timed": "trained", "torch": "torch", **SHARED}


@dataclass(frozen=True)
class Side:
    """A record, and what the comparison calls it."""

    name: str
    record: SweepRecord


def comparison(one: Side, other: Side) -> str:
    """As Markdown: a table of both with the second's values less the first's, paired by seed, what the intervals
    support, and in what the two were made otherwise.

    Differences are taken of scores where both were taken on the same data in the same way, and of times where both ran
    in the same way. Raises RecordsError where the two have no row in common.
    """
    rows = [row.row for row in one.record.rows]
    others = [row.row for row in other.record.rows]
    if not set(rows) & set(others):
        raise RecordsError(
            f"{one.name} and {other.name} have no row in common; {', '.join(rows)} here, {', '.join(others)} there"
        )
    values = (values_of(one.record), values_of(other.record))
    metrics = [name for name in COMPARED if all(name in found for found in values)]
    compared = [name for name in metrics if _comparable(name, one.record, other.record)]
    rows_of_both = list(dict.fromkeys((*rows, *others)))
    cells = pd.DataFrame(index=pd.Index(rows_of_both, name="row"))
    for metric in metrics:
        column = COLUMN_OF[metric]
        for side, found in zip("AB", values, strict=True):
            statistics = by_row(summary(found, metric))
            texts = [mean_and_spread(statistics[row], column, 0) for row in rows_of_both]
            cells[f"{column.title}, {side}"] = texts
        if metric in compared:
            less = by_row(between(*values, metric))
            cells[f"{column.label}, B less A"] = [difference(less[row], column) for row in rows_of_both]
    said = [_verdict(one, other, values, compared), *_notes(one, other)]
    lines = [f"# A: {in_markdown(one.name)}; B: {in_markdown(other.name)}", "", in_markdown(asked(one.record)), ""]
    lines += [markdown_table(cells), ""]
    return "\n".join([*lines, *(f"- {in_markdown(text)}" for text in said)]) + "\n"


def _comparable(metric: str, one: SweepRecord, other: SweepRecord) -> bool:
    if metric in TIMES:
        return timed_alike(one) == timed_alike(other)
    if metric.startswith("cost/"):
        return True
    return all(_told(one, tag) == _told(other, tag) for tag in ("data_fingerprint", *SHARED) if tag != "result_version")


def _verdict(one: Side, other: Side, values: tuple[pd.DataFrame, pd.DataFrame], compared: list[str]) -> str:
    """Whether results differ, by the score that rows are compared by."""
    score = main_score(values[0])
    metric = f"last/{score}"
    if score is None:
        return "No seed is finished on both sides."
    if metric not in compared:
        return "Scores are shown side by side and not subtracted: they are not of the same data, taken in the same way."
    same = [row for row in _keys(one.record) if _keys(one.record)[row] == _keys(other.record).get(row)]
    found = {row: line for row, line in by_row(between(*values, metric)).items() if line.n and row not in same}
    told = [f"{', '.join(map(quoted, same))}: the very same trials on both sides"] if same else []
    if found:
        clauses = clause(found, metric, f"{SCORE_LABELS[score]} at the end of training")
        told.append(f"B against A: {clauses}")
    return f"{'; '.join(told)}." if told else "No seed is finished on both sides."


def _notes(one: Side, other: Side) -> list[str]:
    """A line for each thing in which the two were made otherwise."""
    found = {name: (_told(one.record, tag), _told(other.record, tag)) for tag, name in TOLD.items()}
    found["task"] = (one.record.task, other.record.task)
    ours, theirs = (", ".join((*side.record.base, *side.record.overrides)) for side in (one, other))
    found["all rows with"] = (ours, theirs)
    return [f"{name}: {ours or DASH} and {theirs or DASH}" for name, (ours, theirs) in found.items() if ours != theirs]


def _told(record: SweepRecord, tag: str) -> str:
    """The values of a tag among the finished trials."""
    return ", ".join(dict.fromkeys(trial[tag] for trial in record.finished if trial[tag]))


def _keys(record: SweepRecord) -> dict[str, dict[int, str]]:
    return {row.row: dict(row.keys) for row in record.rows}
