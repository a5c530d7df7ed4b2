"""From a sweep's record to its table; pure."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.records.names import last_metric, source_metric
from analysis.records.schema import SweepRecord
from analysis.statistics.comparability import rows_scored_differently, tag_differences
from analysis.statistics.estimates import (
    Estimate,
    by_row,
    differences,
    main_score,
    summary,
    timing_conditions,
    values_of,
)
from analysis.statistics.paper_values import differences_to_paper, paper_fids
from analysis.tables.columns import DASH, Column, columns_of, setting_columns

SOURCE_ROW = "source, untranslated"

# How the names of a search's samples begin (`pipeline.config.sweep_file.SAMPLE`). Most samples are stopped early and
# have no result.
SAMPLE = "sample "
# What became of a trial, by the status of its run.
REASONS = {
    "FINISHED": "done",
    "FAILED": "failed",
    "RUNNING": "is not finished",
    "SCHEDULED": "has not started",
    "MISSING": "has no run",
    "KILLED": "was stopped",
}


@dataclass(frozen=True)
class Table:
    """A table as a reader sees it: texts, a line a row; the columns that are of something else than the rest, and are
    greyed; and footnotes."""

    cells: pd.DataFrame
    greyed: tuple[str, ...]
    notes: tuple[str, ...]


def table(record: SweepRecord, paper: Mapping[str, Any]) -> Table:
    """Settings that differ, seeds, scores, costs, the difference to the default row, and the paper's FID."""
    values = values_of(record)
    hidden = _stopped_samples(record)
    shown = [row.row for row in record.rows if row.row not in hidden]
    marks, notes = _footnotes(record, hidden)
    cells = setting_columns(record).loc[shown]
    finished = Counter(trial["row"] for trial in record.finished)
    asked = Counter(trial["row"] for trial in record.trials)
    cells["n"] = [_count(finished[row], asked[row], marks.get(row, "")) for row in shown]
    score, source = main_score(values), {"n": DASH}
    for column in columns_of(values, record.price_per_hour):
        statistics = by_row(summary(values, column.metric))
        cells[column.title] = [mean_and_spread(statistics[row], column, finished[row]) for row in shown]
        source[column.title] = _source_cell(values, column)
        if score and column.metric == last_metric(score) and len(shown) > 1:
            cells[f"{column.label}, less that of {record.default} ↓"] = _differences(record, values, column, shown)
    greyed: list[str] = []
    if papers := paper_fids(record, paper):
        of_rows = [f"{papers.fids[row]:.1f}" if row in papers.fids else DASH for row in shown]
        if papers.data_set != record.task:
            greyed.append(f"paper, FID on {papers.data_set} (another data set)")
        elif papers.why_not:
            greyed.append("paper, FID (another protocol)")
            notes.append(f"the paper's FID is of another protocol: {papers.why_not}")
        cells[greyed[0] if greyed else "paper, FID"] = of_rows
        if not greyed and last_metric("fid") in values:
            less = by_row(differences_to_paper(values, papers))
            cells["FID, last, less the paper's"] = [signed(less[row].mean, 1) for row in shown]
    if any(name.startswith(source_metric("")) for name in values):
        # A row of the sweep may be called so, too.
        name = SOURCE_ROW if SOURCE_ROW not in shown else f"{SOURCE_ROW} (A as it is)"
        first = pd.DataFrame([source], index=[name]).reindex(columns=cells.columns, fill_value=DASH)
        cells = pd.concat([first, cells])
    return Table(cells.rename_axis("row"), tuple(greyed), tuple(notes))


def _stopped_samples(record: SweepRecord) -> set[str]:
    """The samples of a search that were all stopped."""
    going_on = {trial["row"] for trial in record.trials if trial["status"] != "KILLED"} | {record.default}
    return {row.row for row in record.rows if row.row.startswith(SAMPLE)} - going_on


def _differences(record: SweepRecord, values: pd.DataFrame, column: Column, shown: Sequence[str]) -> list[str]:
    """To the default row; of rows whose scores were taken otherwise there is none."""
    found, otherwise = by_row(differences(values, column.metric, record.default)), rows_scored_differently(record)
    cells = {row: DASH if row in otherwise else difference(found[row], column) for row in shown}
    return ["default" if row == record.default else cells[row] for row in shown]


def state_of(run: Mapping[Any, Any]) -> str:
    """What became of a trial, and why."""
    state = REASONS.get(run["status"], str(run["status"]).lower())
    if run["status"] == "KILLED":
        state = f"{state} {run['stopped']}".rstrip()
    return f"{state}: {run['error']}" if run["error"] else state


def _count(finished: int, asked: int, mark: str) -> str:
    return (f"{finished}" if finished == asked else f"{finished} of {asked}") + mark


def mean_and_spread(found: Estimate, column: Column, n: int) -> str:
    """Mean ± standard deviation, with its own n where that is not n."""
    if found.n == 0:
        return DASH
    mean, std = found.mean * column.factor, found.std * column.factor
    spread = f" ± {std:.{column.digits}f}" if found.n > 1 else ""
    return f"{mean:.{column.digits}f}{spread}" + (f" (n = {found.n})" if found.n != n else "")


def _source_cell(values: pd.DataFrame, column: Column) -> str:
    """The same score for images of A left as they are, which every trial records alike."""
    name = source_metric(column.metric.removeprefix(last_metric("")))
    known = values[name].dropna().tolist() if name in values else []
    return f"{known[0] * column.factor:.{column.digits}f}" if known else DASH


def difference(found: Estimate, column: Column) -> str:
    """A paired difference with its interval."""
    if found.n == 0:
        return DASH
    mean, low, high = (signed(value, column.digits) for value in (found.mean, found.low, found.high))
    return f"{mean} ({low} to {high})" if found.n > 1 else f"{mean} (one seed, no interval)"


def signed(value: float, digits: int) -> str:
    """With its sign, a minus being a minus; a dash for nan."""
    return DASH if math.isnan(value) else f"{value:+.{digits}f}".replace("-", "−")


def _footnotes(record: SweepRecord, hidden: Set[str]) -> tuple[dict[str, str], list[str]]:
    """A mark for each row that lacks a seed, and why, a line a seed; how many rows are not shown; which values and
    times are left out; what scores do not share; and what older records do not hold."""
    marks: dict[str, str] = {}
    notes: list[str] = []
    for run in record.trials:
        if run["status"] == "FINISHED" or run["row"] in hidden:
            continue
        mark = marks.setdefault(run["row"], f" [{len(marks) + 1}]")
        notes.append(f"{mark.strip()} {run['row']}, seed {run['seed']} {state_of(run)}")
    if hidden:
        notes.append(f"samples that the search stopped, which are not shown: {len(hidden)}")
    notes += [
        f"{trial['row']}, seed {trial['seed']}: not finite, and left out: {trial['not_finite']}"
        for trial in record.finished
        if trial["not_finite"]
    ]
    timed, left_out = timing_conditions(record)
    if left_out:
        how = timed or "before it was recorded how"
        notes.append(
            f"times, energy and cost are those of trials that ran {how}; {left_out} that ran otherwise are left out"
        )
    if unlike := tag_differences(record):
        notes.append(f"scores are not all comparable: trials differ in {'; '.join(unlike)}")
    if not record.axes and len(record.rows) > 1:
        notes.append(
            "the sweep was recorded before rows' settings were, and the first row is taken to be the default; "
            f"just sweep {record.sweep} records them, and trains nothing that is done"
        )
    return marks, notes
