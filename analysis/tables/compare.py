"""Two records side by side: two sweeps, tasks, or result versions, by the statistics of a sweep's own table; pure."""

from dataclasses import dataclass

import pandas as pd

from analysis.records.names import (
    SCORE_TAGS,
    Tag,
    cost_metric,
    last_metric,
    metric_of,
    score_label,
    shown_metrics,
    timed_metrics,
)
from analysis.records.schema import RecordsError, SweepRecord
from analysis.statistics.comparability import tag_values
from analysis.statistics.estimates import (
    by_row,
    differences_between,
    main_score,
    summary,
    timing_conditions,
    values_of,
)
from analysis.tables.columns import DASH, column_of
from analysis.tables.formats import in_markdown, markdown_table
from analysis.tables.summary import clause, quoted
from analysis.tables.table import difference, mean_and_spread

# The tags whose differences are listed, and what a reader calls them.
LISTED_TAGS = {
    **{Tag.COMMIT: "commit", Tag.DATA_FINGERPRINT: "data", Tag.TIMED: "trained", Tag.TORCH: "torch"},
    **SCORE_TAGS,
}


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
    shown = [name for name in shown_metrics() if metric_of(name).compared]
    metrics = [name for name in shown if all(name in found for found in values)]
    compared = [name for name in metrics if _comparable(name, one.record, other.record)]
    rows_of_both = list(dict.fromkeys((*rows, *others)))
    cells = pd.DataFrame(index=pd.Index(rows_of_both, name="row"))
    for metric in metrics:
        column = column_of(metric)
        for side, found in zip("AB", values, strict=True):
            statistics = by_row(summary(found, metric))
            texts = [mean_and_spread(statistics[row], column, 0) for row in rows_of_both]
            cells[f"{column.title}, {side}"] = texts
        if metric in compared:
            less = by_row(differences_between(*values, metric))
            cells[f"{column.label}, B less A"] = [difference(less[row], column) for row in rows_of_both]
    said = [_verdict(one, other, values, compared), *_notes(one, other)]
    lines = [f"# A: {in_markdown(one.name)}; B: {in_markdown(other.name)}", "", in_markdown(one.record.question), ""]
    lines += [markdown_table(cells), ""]
    return "\n".join([*lines, *(f"- {in_markdown(text)}" for text in said)]) + "\n"


def _comparable(metric: str, one: SweepRecord, other: SweepRecord) -> bool:
    if metric in timed_metrics():
        return timing_conditions(one)[0] == timing_conditions(other)[0]
    if metric.startswith(cost_metric("")):
        return True
    shared = (Tag.DATA_FINGERPRINT, *(tag for tag in SCORE_TAGS if tag != Tag.RESULT_VERSION))
    return all(tag_values(one, tag) == tag_values(other, tag) for tag in shared)


def _verdict(one: Side, other: Side, values: tuple[pd.DataFrame, pd.DataFrame], compared: list[str]) -> str:
    """Whether results differ, by the score that rows are compared by."""
    score, others = (main_score(found) for found in values)
    if score is None or others is None:
        return "No seed is finished on both sides."
    metric = last_metric(score)
    if metric not in compared:
        return "Scores are shown side by side and not subtracted: they are not of the same data, taken in the same way."
    same = _same_trials(one.record, other.record)
    found = {
        row: line for row, line in by_row(differences_between(*values, metric)).items() if line.n and row not in same
    }
    said = [f"{', '.join(map(quoted, same))}: the very same trials on both sides"] if same else []
    if found:
        clauses = clause(found, metric, f"{score_label(score)} at the end of training")
        said.append(f"B against A: {clauses}")
    return f"{'; '.join(said)}." if said else "No seed is finished on both sides."


def _same_trials(one: SweepRecord, other: SweepRecord) -> list[str]:
    """The rows of which every seed that is finished on both sides is one run of one store."""
    ours, theirs = (
        {(trial["row"], trial["seed"]): (record.store, trial["run_id"]) for trial in record.finished}
        for record in (one, other)
    )
    shared = {which: ours[which] == theirs[which] for which in ours if which in theirs}
    rows = dict.fromkeys(row for row, _ in shared)
    return [row for row in rows if all(same for (of_row, _), same in shared.items() if of_row == row)]


def _notes(one: Side, other: Side) -> list[str]:
    """A line for each thing in which the two were made otherwise."""
    found = {name: (tag_values(one.record, tag), tag_values(other.record, tag)) for tag, name in LISTED_TAGS.items()}
    found["task"] = (one.record.task, other.record.task)
    ours, theirs = (", ".join((*side.record.base, *side.record.overrides)) for side in (one, other))
    found["all rows with"] = (ours, theirs)
    return [f"{name}: {ours or DASH} and {theirs or DASH}" for name, (ours, theirs) in found.items() if ours != theirs]
