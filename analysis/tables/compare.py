"""Compare two records (sweeps, tasks, or result versions) by the statistics of a sweep's table; pure."""

from dataclasses import dataclass

import pandas as pd

from analysis.records.names import (
    PROVENANCE_TAGS,
    SCORE_TAGS,
    Tag,
    cost_metric,
    last_metric,
    metric_of,
    shown_metrics,
    timed_metrics,
)
from analysis.records.schema import RecordsError, SweepRecord
from analysis.statistics.comparisons import compare
from analysis.statistics.estimates import (
    differences_between,
    main_score,
    summary,
    tag_values,
    timing_conditions,
    values_of,
)
from analysis.tables.columns import DASH, column_of
from analysis.tables.formats import in_markdown, markdown_table
from analysis.tables.sentences import collapse_sentences, difference_sentences, quoted, score_wording
from analysis.tables.table import difference, mean_and_std

CAPTION = "Mean ± standard deviation over n seeds. B − A: mean difference over paired seeds, with a 95 % t-interval."
NO_PAIRS = "No seed is finished on both sides."


@dataclass(frozen=True)
class Side:
    """A record, and its name in the comparison."""

    name: str
    record: SweepRecord


def comparison(one: Side, other: Side) -> str:
    """Return Markdown: a table of both sides, a summary, and in what the two differ.

    Scores are subtracted only where both sides used the same data and measurement, times only where both ran in the
    same way. Raises RecordsError where the two have no row in common.
    """
    rows = [row.row for row in one.record.rows]
    others = [row.row for row in other.record.rows]
    if not set(rows) & set(others):
        raise RecordsError(
            f"{one.name} and {other.name} have no row in common. {one.name} has {', '.join(map(quoted, rows))}; "
            f"{other.name} has {', '.join(map(quoted, others))}"
        )
    values = (values_of(one.record), values_of(other.record))
    shown = [name for name in shown_metrics() if metric_of(name).compared]
    metrics = [name for name in shown if all(name in found for found in values)]
    subtracted = [name for name in metrics if _comparable(name, one.record, other.record)]
    all_rows = list(dict.fromkeys((*rows, *others)))
    cells = pd.DataFrame(index=pd.Index(all_rows, name="row"))
    for metric in metrics:
        column = column_of(metric)
        for side, found in zip("AB", values, strict=True):
            statistics = summary(found, metric)
            cells[f"{column.title}, {side}"] = [mean_and_std(statistics[row], column, 0) for row in all_rows]
        if metric in subtracted:
            delta = differences_between(*values, metric)
            cells[f"{column.label}, B − A (95 % CI)"] = [difference(delta[row], column) for row in all_rows]
    title = f"# A: {in_markdown(one.name)}; B: {in_markdown(other.name)}"
    points = [_verdict(one, other, values, subtracted)]
    points += [f"{side}: {text}" for side, of in (("A", one), ("B", other)) for text in collapse_sentences(of.record)]
    points += _differences(one.record, other.record)
    blocks = [title, in_markdown(one.record.question), markdown_table(cells), CAPTION]
    return "\n\n".join([*blocks, "\n".join(f"- {in_markdown(point)}" for point in points)]) + "\n"


def _comparable(metric: str, one: SweepRecord, other: SweepRecord) -> bool:
    if metric in timed_metrics():
        return timing_conditions(one)[0] == timing_conditions(other)[0]
    if metric.startswith(cost_metric("")):
        return True
    shared = (Tag.DATA_FINGERPRINT, *(tag for tag in SCORE_TAGS if tag != Tag.RESULT_VERSION))
    return all(tag_values(one, tag) == tag_values(other, tag) for tag in shared)


def _verdict(one: Side, other: Side, values: tuple[pd.DataFrame, pd.DataFrame], subtracted: list[str]) -> str:
    """Return which rows of B are better or worse than in A, by the main score."""
    scores = [main_score(found) for found in values]
    score = scores[0]
    if score is None or None in scores:
        return NO_PAIRS
    if last_metric(score) not in subtracted:
        return "Scores are not subtracted, because A and B differ in their data or in how scores were measured."
    same = _same_trials(one.record, other.record)
    delta = differences_between(*values, last_metric(score))
    found = compare({row: line for row, line in delta.items() if line.n and row not in same}, last_metric(score))
    sentences = [f"The same trials in A and B: {', '.join(map(quoted, same))}."] if same else []
    if found:
        sentences += ["B compared with A.", *difference_sentences(found, last_metric(score), score_wording(score), "A")]
    return " ".join(sentences) or NO_PAIRS


def _same_trials(one: SweepRecord, other: SweepRecord) -> list[str]:
    """Return the rows whose finished seeds in common are the same runs of the same store."""
    ours, theirs = (
        {(trial["row"], trial["seed"]): (record.store, trial["run_id"]) for trial in record.finished}
        for record in (one, other)
    )
    shared = [which for which in ours if which in theirs]
    different = {row for row, seed in shared if ours[row, seed] != theirs[row, seed]}
    return [row for row in dict.fromkeys(row for row, _ in shared) if row not in different]


def _differences(one: SweepRecord, other: SweepRecord) -> list[str]:
    """Return a line for each tag and each setting of all rows in which the two differ."""
    ours, theirs = _conditions(one), _conditions(other)
    pairs = {name: (ours.get(name, ""), theirs.get(name, "")) for name in (*ours, *theirs)}
    return [f"{name}: {a or DASH} → {b or DASH}" for name, (a, b) in pairs.items() if a != b]


def _conditions(record: SweepRecord) -> dict[str, str]:
    """Return tags, task and the settings of all rows. The command line comes after the sweep file, and wins."""
    settings = (text.partition("=") for text in (*record.base, *record.overrides))
    tags = {name: tag_values(record, tag) for tag, name in PROVENANCE_TAGS.items()}
    return {**tags, "task": record.task, **{name: value for name, _, value in settings}}
