"""Compare two records (sweeps, tasks, or result versions) by the statistics of a sweep's table; pure."""

from collections.abc import Mapping
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
from analysis.records.printable import printable
from analysis.records.schema import RecordsError, SweepRecord
from analysis.statistics.comparisons import compare
from analysis.statistics.estimates import (
    Estimate,
    differences_between,
    main_score,
    summary,
    tag_values,
    timing_conditions,
    values_of,
)
from analysis.tables.columns import DASH, Column, column_of, setting_text
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
    """Return a text for the terminal: in what the two differ, a verdict, and a table for each metric that differs.

    Scores are subtracted only where both sides used the same data and measurement, times only where both ran in the
    same way. Raises RecordsError where the two have no row in common.
    """
    rows, others = ([row.row for row in side.record.rows] for side in (one, other))
    shared = [row for row in rows if row in others]
    if not shared:
        raise RecordsError(
            f"{one.name} and {other.name} have no row in common. {one.name} has {', '.join(map(quoted, rows))}; "
            f"{other.name} has {', '.join(map(quoted, others))}"
        )
    values = (values_of(one.record), values_of(other.record))
    shown = [name for name in shown_metrics() if metric_of(name).compared]
    metrics = [name for name in shown if all(name in found for found in values)]
    subtracted = [name for name in metrics if _comparable(name, one.record, other.record)]
    delta = {name: differences_between(*values, name) for name in subtracted}
    equal = [name for name in subtracted if _equal_everywhere([delta[name][row] for row in shared])]
    differences = [
        *_lines_of_differences(one.record, other.record, shared),
        *_only_in("A", [row for row in rows if row not in shared]),
        *_only_in("B", [row for row in others if row not in shared]),
    ]
    scores = [name for name in metrics if not name.startswith(cost_metric(""))]
    if scores and not differences and set(scores) <= set(equal) and _seeds(one.record) == _seeds(other.record):
        return printable(f"Nothing differs between {one.name} and {other.name}: same rows, settings and scores.") + "\n"
    collapsed = [f"{side}: {text}" for side, of in (("A", one), ("B", other)) for text in collapse_sentences(of.record)]
    alike = [f"Equal in every seed: {'; '.join(column_of(name).label for name in equal)}."] if equal else []
    lines = [f"A: {one.name}", f"B: {other.name}", *differences, _verdict(one, other, values, subtracted), *collapsed]
    tables = [_table(name, values, delta.get(name), shared) for name in metrics if name not in equal]
    blocks = ["\n".join(map(printable, [*lines, *alike])), *tables, *([CAPTION] if tables else [])]
    return "\n\n".join(blocks) + "\n"


def _table(
    metric: str, values: tuple[pd.DataFrame, pd.DataFrame], delta: Mapping[str, Estimate] | None, rows: list[str]
) -> str:
    """Return a metric of each row on both sides, and the difference where the two are comparable."""
    column, (ours, theirs) = column_of(metric), (summary(found, metric) for found in values)
    cells = pd.DataFrame(index=pd.Index([printable(row) for row in rows], name="row"))
    cells["A"] = [mean_and_std(ours[row], column, 0) for row in rows]
    cells["B"] = [mean_and_std(theirs[row], column, 0) for row in rows]
    if delta is not None:
        cells["B − A (95 % CI)"] = [_with_pairs(delta[row], column) for row in rows]
    text = cells.reset_index().to_markdown(index=False, tablefmt="plain", disable_numparse=True)
    return f"{column.title}\n{text}"


def _with_pairs(found: Estimate, column: Column) -> str:
    pairs = f", n = {found.n}" if found.n > 1 and (found.mean or found.std) else ""
    return difference(found, column) + pairs


def _equal_everywhere(found: list[Estimate]) -> bool:
    known = [one for one in found if one.n]
    return bool(known) and all(one.mean == 0 and not one.std > 0 for one in known)


def _seeds(record: SweepRecord) -> set[tuple[str, int]]:
    return {(trial["row"], trial["seed"]) for trial in record.finished}


def _only_in(side: str, rows: list[str]) -> list[str]:
    return [f"Only in {side}: {', '.join(map(quoted, rows))}."] if rows else []


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


def _lines_of_differences(one: SweepRecord, other: SweepRecord, rows: list[str]) -> list[str]:
    """Return a line on settings that differ in all rows, one for each row that differs alone, and one on tags."""
    ours, theirs = ({row: _settings(record, row) for row in rows} for record in (one, other))
    changed = {row: _changed(ours[row], theirs[row]) for row in rows}
    everywhere = [text for text in changed[rows[0]] if all(text in of_row for of_row in changed.values())]
    alone = {row: [text for text in of_row if text not in everywhere] for row, of_row in changed.items()}
    tags = _changed(*({name: tag_values(of, tag) for tag, name in PROVENANCE_TAGS.items()} for of in (one, other)))
    return [
        *([f"Differs: {', '.join(everywhere)}"] if everywhere else []),
        *(f"Differs in {quoted(row)}: {', '.join(texts)}" for row, texts in alone.items() if texts),
        *([f"Made with: {'; '.join(tags)}"] if tags else []),
    ]


def _changed(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    pairs = {name: (ours.get(name) or DASH, theirs.get(name) or DASH) for name in (*ours, *theirs)}
    return [f"{name} {a} → {b}" for name, (a, b) in pairs.items() if a != b]


def _settings(record: SweepRecord, row: str) -> dict[str, str]:
    """Return task and settings of a row. The command line comes after the sweep file, and the row wins."""
    (of_row,) = (found for found in record.rows if found.row == row)
    typed = (text.partition("=") for text in (*record.base, *record.overrides))
    own = {name: setting_text(value) for name, value in of_row.settings.items()}
    return {"task": record.task, **{name: value for name, _, value in typed}, **own}
