"""Two records side by side: two sweeps, tasks, or result versions, by the statistics of a sweep's own table; pure."""

from dataclasses import dataclass

import pandas as pd

from analysis.records.schema import RecordsError, SweepRecord
from analysis.statistics.comparability import SHARED, told
from analysis.statistics.estimates import TIMES, between, by_row, main_score, summary, timed_alike, values_of
from analysis.tables.columns import COLUMN_OF, DASH, SCORE_LABELS
from analysis.tables.formats import in_markdown, markdown_table
from analysis.tables.summary import clause, quoted
from analysis.tables.table import difference, mean_and_spread

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
            f"{one.name} and {other.name} have no row of one name; {', '.join(map(quoted, rows))} here, "
            f"{', '.join(map(quoted, others))} there"
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
    lines = [f"# A: {in_markdown(one.name)}; B: {in_markdown(other.name)}", "", in_markdown(one.record.question), ""]
    lines += [markdown_table(cells), ""]
    return "\n".join([*lines, *(f"- {in_markdown(text)}" for text in said)]) + "\n"


def _comparable(metric: str, one: SweepRecord, other: SweepRecord) -> bool:
    if metric in TIMES:
        return timed_alike(one)[0] == timed_alike(other)[0]
    if metric.startswith("cost/"):
        return True
    return all(told(one, tag) == told(other, tag) for tag in ("data_fingerprint", *SHARED) if tag != "result_version")


def _verdict(one: Side, other: Side, values: tuple[pd.DataFrame, pd.DataFrame], compared: list[str]) -> str:
    """Whether results differ, by the score that rows are compared by."""
    score, others = (main_score(found) for found in values)
    metric = f"last/{score}"
    if score is None or others is None:
        return "No seed is finished on both sides."
    if metric not in compared:
        return "Scores are shown side by side and not subtracted: they are not of the same data, taken in the same way."
    same = _same_trials(one.record, other.record)
    found = {row: line for row, line in by_row(between(*values, metric)).items() if line.n and row not in same}
    said = [f"{', '.join(map(quoted, same))}: the very same trials on both sides"] if same else []
    if found:
        clauses = clause(found, metric, f"{SCORE_LABELS[score]} at the end of training")
        said.append(f"B against A: {clauses}")
    return f"{'; '.join(said)}." if said else "No seed is finished on both sides."


def _same_trials(one: SweepRecord, other: SweepRecord) -> list[str]:
    """The rows of which every seed that is finished on both sides is one run of one store."""
    ours, theirs = (
        {(trial["row"], trial["seed"]): (record.place, trial["run_id"]) for trial in record.finished}
        for record in (one, other)
    )
    shared = {which: ours[which] == theirs[which] for which in ours if which in theirs}
    rows = dict.fromkeys(row for row, _ in shared)
    return [row for row in rows if all(same for (of_row, _), same in shared.items() if of_row == row)]


def _notes(one: Side, other: Side) -> list[str]:
    """A line for each thing in which the two were made otherwise."""
    found = {name: (told(one.record, tag), told(other.record, tag)) for tag, name in TOLD.items()}
    found["task"] = (one.record.task, other.record.task)
    ours, theirs = (", ".join((*side.record.base, *side.record.overrides)) for side in (one, other))
    found["all rows with"] = (ours, theirs)
    return [f"{name}: {ours or DASH} and {theirs or DASH}" for name, (ours, theirs) in found.items() if ours != theirs]
