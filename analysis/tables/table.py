"""Make a sweep's table from its record; pure."""

import math
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.records.names import Tag, last_metric, source_metric
from analysis.records.schema import SweepRecord
from analysis.statistics.collapse import collapsed_counts, has_collapsed
from analysis.statistics.comparisons import compare_rows
from analysis.statistics.estimates import (
    Estimate,
    content_scores,
    main_score,
    summary,
    tag_differences,
    timing_conditions,
    values_of,
)
from analysis.statistics.paper_values import paper_fids, reported_elsewhere
from analysis.tables.columns import DASH, Column, column_of, columns_of, setting_columns

SOURCE_ROW = "source, untranslated"

# Stands behind the difference, or the score of content, of a row that is told apart from the default row.
STAR = " *"
# The prefix of a search's samples (`pipeline.config.sweep_file.SAMPLE`). Most samples are stopped early: no result.
SAMPLE = "sample "
# The state of a trial by the status of its MLflow run.
STATES = {
    "FINISHED": "done",
    "FAILED": "failed",
    "RUNNING": "not finished",
    "SCHEDULED": "not started",
    # Its run is created when it starts, and deleted by `just drop`.
    "MISSING": "not started",
    "KILLED": "stopped",
}


@dataclass(frozen=True)
class Table:
    """A table as shown: its cells as text, the grey columns (values that are not comparable), and footnotes.

    settings: the columns of settings. main: the column of the score by which rows are compared, and of its difference.
    """

    cells: pd.DataFrame
    greyed: tuple[str, ...]
    notes: tuple[str, ...]
    settings: tuple[str, ...]
    main: tuple[str, ...]


def table(record: SweepRecord, paper: Mapping[str, Any]) -> Table:
    """Return the table: settings that differ, seeds, scores, difference to the baseline, costs, the paper's FID."""
    values = values_of(record)
    hidden = _stopped_samples(record)
    shown = [row.row for row in record.rows if row.row not in hidden]
    marks, notes = _footnotes(record, hidden)
    cells = setting_columns(record).loc[shown]
    settings = tuple(cells)
    finished = Counter(trial["row"] for trial in record.finished)
    planned, collapsed = Counter(trial["row"] for trial in record.trials), collapsed_counts(record)
    scored = {row: finished[row] - collapsed[row] for row in shown}
    of_planned = {row: f" of {planned[row]}" if scored[row] < planned[row] else "" for row in shown}
    counted = {row: f", {collapsed[row]} collapsed" if collapsed[row] else "" for row in shown}
    cells["n"] = [f"{scored[row]}{of_planned[row]}{counted[row]}{marks.get(row, '')}" for row in shown]
    source, score = {"n": DASH}, main_score(values)
    main, content = last_metric(score or ""), [last_metric(name) for name in content_scores(values)]
    for column in columns_of(values, record.price_per_hour):
        statistics = summary(values, column.metric)
        source[column.title] = _source_cell(values, column)
        compared = compare_rows(record, values, column.metric) if column.metric in (main, *content) else {}
        stars = {row: STAR for row, found in compared.items() if found.told_apart}
        means = {row: mean_and_std(statistics[row], column, scored[row]) for row in shown}
        if column.metric == main and len(shown) > 1:
            cells[column.title] = list(means.values())
            deltas = {row: difference(found.difference, column) for row, found in compared.items()}
            deltas = {row: f"{delta}{stars.get(row, '')}" for row, delta in deltas.items()}
            cells[delta_title(record)] = [{record.default: "baseline", **deltas}.get(row, DASH) for row in shown]
        else:
            cells[column.title] = [f"{mean}{stars.get(row, '')}" for row, mean in means.items()]
    greyed: list[str] = []
    if papers := paper_fids(record, paper):
        of_rows = [f"{papers.fids[row]:.1f}" if row in papers.fids else DASH for row in shown]
        if papers.data_set != record.task:
            greyed.append(f"paper's FID on {papers.data_set} (other data)")
        elif papers.why_not:
            greyed.append("paper's FID (other protocol)")
            notes.append(f"The paper's FID was measured by another protocol: {papers.why_not}")
        cells[greyed[0] if greyed else "paper's FID"] = of_rows
        if not greyed and last_metric("fid") in values:
            ours, theirs = summary(values, last_metric("fid")), papers.fids
            cells["Δ to the paper's FID"] = [signed(ours[row].mean - theirs.get(row, math.nan), 1) for row in shown]
    notes += [f"{row}: {what}" for row, what in reported_elsewhere(record, paper).items() if row in shown]
    if any(name.startswith(source_metric("")) for name in values):
        # A row of the sweep may have the same name.
        name = SOURCE_ROW if SOURCE_ROW not in shown else f"{SOURCE_ROW} (images of A)"
        first = pd.DataFrame([source], index=[name]).reindex(columns=cells.columns, fill_value=DASH)
        cells = pd.concat([first, cells])
    titles = (column_of(main).title, delta_title(record)) if score else ()
    compared = tuple(title for title in titles if title in cells)
    return Table(cells.rename_axis("row"), tuple(greyed), tuple(notes), settings, compared)


def delta_title(record: SweepRecord) -> str:
    """Return the title of the column with differences to the baseline."""
    return f"Δ to {record.default} (95 % CI)"


def _stopped_samples(record: SweepRecord) -> set[str]:
    """Return the samples of a search of which every trial was stopped."""
    kept = {trial["row"] for trial in record.trials if trial["status"] != "KILLED"} | {record.default}
    return {row.row for row in record.rows if row.row.startswith(SAMPLE)} - kept


def state_of(run: Mapping[Any, Any]) -> str:
    """Return a trial's state and, for a failed, stopped or collapsed one, the reason."""
    if has_collapsed(run):
        return f"collapsed: all translations were alike after epoch {run[Tag.COLLAPSED]}, the last"
    state = STATES.get(run["status"], str(run["status"]).lower())
    if run["status"] == "KILLED":
        state = f"{state} {run['stopped']}".rstrip()
    return f"{state}: {run['error']}" if run["error"] else state


def mean_and_std(found: Estimate, column: Column, n: int) -> str:
    """Return mean ± standard deviation, with the number of seeds where it is not n."""
    if found.n == 0:
        return DASH
    mean, std = found.mean * column.factor, found.std * column.factor
    spread = f" ± {std:.{column.digits}f}" if found.n > 1 else ""
    return f"{mean:.{column.digits}f}{spread}" + (f" (n = {found.n})" if found.n != n else "")


def _source_cell(values: pd.DataFrame, column: Column) -> str:
    """Return the score of the untranslated images of A, which is the same in every trial."""
    name = source_metric(column.metric.removeprefix(last_metric("")))
    known = values[name].dropna().tolist() if name in values else []
    return f"{known[0] * column.factor:.{column.digits}f}" if known else DASH


def difference(found: Estimate, column: Column) -> str:
    """Return a paired difference with its interval."""
    if found.n == 0:
        return DASH
    if found.n > 1 and found.mean == found.std == 0:
        return f"0 in all {found.n} seeds"
    mean, low, high = (signed(value, column.digits) for value in (found.mean, found.low, found.high))
    return f"{mean} ({low} to {high})" if found.n > 1 else f"{mean} (1 seed, no CI)"


def signed(value: float, digits: int) -> str:
    """Return a number with its sign (a true minus), or a dash for nan."""
    return DASH if math.isnan(value) else f"{value:+.{digits}f}".replace("-", "−")


def _footnotes(record: SweepRecord, hidden: Set[str]) -> tuple[dict[str, str], list[str]]:
    """Return a mark for each row that lacks a seed or its scores, and the footnotes."""
    marks: dict[str, str] = {}
    notes: list[str] = []
    for run in record.trials:
        if (run["status"] == "FINISHED" and not has_collapsed(run)) or run["row"] in hidden:
            continue
        mark = marks.setdefault(run["row"], f" [{len(marks) + 1}]")
        notes.append(f"{mark.strip()} {run['row']}, seed {run['seed']}: {state_of(run)}")
    if hidden:
        notes.append(f"Not shown: {len(hidden)} sample{'s'[: len(hidden) > 1]} stopped by the search")
    notes += [
        f"{trial['row']}, seed {trial['seed']}: left out, not finite: {trial['not_finite']}"
        for trial in record.finished
        if trial["not_finite"]
    ]
    notes += [
        f"{trial['row']}, seed {trial['seed']}: collapsed, all translations were alike after epoch "
        f"{trial[Tag.COLLAPSED]}{'' if math.isnan(trial.get(last_metric('epoch'), math.nan)) else '; it recovered'}"
        for trial in record.finished
        if trial[Tag.COLLAPSED] and not has_collapsed(trial)
    ]
    timed, left_out = timing_conditions(record)
    if left_out:
        notes.append(
            f"Times, energy and cost: only trials that ran {timed or 'on unrecorded hardware'}. {left_out} that ran "
            "otherwise are left out"
        )
    if unlike := tag_differences(record):
        notes.append(f"Not all scores are comparable. Trials differ in {'; '.join(unlike)}")
    if not record.axes and len(record.rows) > 1:
        notes.append(
            "This is an old record without settings: the first row is taken as the baseline. To add the settings, "
            f"run just sweep {record.sweep}; finished trials are not trained again"
        )
    return marks, notes
