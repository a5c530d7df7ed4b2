"""From a sweep's record to its table; pure."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.columns import COLUMN_OF, DASH, Column, columns_of, setting_columns
from analysis.estimates import Estimate, by_row, differences, main_score, summary, timed_alike, values_of
from analysis.paper import beside, ours_less_papers
from analysis.records import SweepRecord

SOURCE_ROW = "source, untranslated"

# What scores of one table must share to be comparable: the tag, and what a reader calls it.
SHARED = {
    **{name: name for name in ("extractor", "weights", "layer", "resize", "arithmetic")},
    **{"image_size": "images' size", "images_a": "images of A", "images_b": "images of B"},
    **{"kid_subset_size": "KID's subsets", "vgg16": "VGG16's weights", "lpips-vgg16": "LPIPS's weights"},
    **{"dinov2-vit-l-14": "DINOv2's weights", "segmenter": "segmentation network"},
    **{"result_version": "result version"},
}
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
    marks, notes = _footnotes(record)
    # Of a search's rows most are stopped, and have nothing to show.
    states: dict[str, list[str]] = {row.row: [] for row in record.rows}
    for run in record.trials:
        states[run["row"]].append(run["status"])
    shown = [row for row, of_row in states.items() if set(of_row) != {"KILLED"}]
    cells = setting_columns(record).loc[shown]
    finished = {row: states[row].count("FINISHED") for row in shown}
    cells["n"] = [_count(finished[row], len(states[row]), marks.get(row, "")) for row in shown]
    score, source = main_score(values), {"n": DASH}
    for column in columns_of(values, record.price_per_hour):
        statistics = by_row(summary(values, column.metric))
        cells[column.title] = [mean_and_spread(statistics[row], column, finished[row]) for row in shown]
        source[column.title] = _source_cell(values, column)
        if score and column.metric == f"best/{score}" and len(shown) > 1:
            title = f"{COLUMN_OF[f'last/{score}'].label}, less that of {record.default} ↓"
            found = by_row(differences(values, f"last/{score}", record.default))
            cells[title] = ["default" if row == record.default else difference(found[row], column) for row in shown]
    greyed: list[str] = []
    if papers := beside(record, paper):
        of_rows = [f"{papers.fids[row]:.1f}" if row in papers.fids else DASH for row in shown]
        if papers.why_not:
            which = (
                f" on {papers.data_set} (another data set)" if papers.data_set != record.task else " (another protocol)"
            )
            greyed.append(f"paper, FID{which}")
            cells[greyed[0]] = of_rows
            if papers.data_set == record.task:
                notes.append(f"the paper's FID is of another protocol: {papers.why_not}")
        else:
            less = by_row(ours_less_papers(values, papers))
            cells["paper, FID"] = of_rows
            cells["FID, last, less the paper's"] = [signed(less[row].mean, 1) for row in shown]
    if any(name.startswith("source/") for name in values):
        first = pd.DataFrame([source], index=[SOURCE_ROW]).reindex(columns=cells.columns, fill_value=DASH)
        cells = pd.concat([first, cells])
    return Table(cells.rename_axis("row"), tuple(greyed), tuple(notes))


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
    name = f"source/{column.metric.removeprefix('last/')}"
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


def _footnotes(record: SweepRecord) -> tuple[dict[str, str], list[str]]:
    """A mark for each row that lacks a seed, and why, a line a seed; which times are left out; what scores do not
    share; and what older records do not hold."""
    marks: dict[str, str] = {}
    notes: list[str] = []
    for run in record.trials:
        if run["status"] == "FINISHED":
            continue
        mark = marks.setdefault(run["row"], f" [{len(marks) + 1}]")
        notes.append(f"{mark.strip()} {run['row']}, seed {run['seed']} {state_of(run)}")
    timed, left_out = timed_alike(record)
    if left_out:
        how = timed or "before it was recorded how"
        notes.append(
            f"times, energy and cost are those of trials that ran {how}; {left_out} that ran otherwise are left out"
        )
    differing = [f"{name} ({values})" for tag, name in SHARED.items() if (values := _differing(record, tag))]
    notes += [f"scores are not all comparable: trials differ in {'; '.join(differing)}"] if differing else []
    if not record.axes and len(record.rows) > 1:
        notes.append(
            "the sweep was recorded before rows' settings were, and the first row is taken to be the default; "
            f"just sweep {record.sweep} records them, and trains nothing that is done"
        )
    return marks, notes


def _differing(record: SweepRecord, tag: str) -> str:
    """The values of a tag among the finished trials, each with the number of its trials; '' where they are one."""
    counts = Counter(trial[tag] for trial in record.finished if trial[tag])
    return ", ".join(f"{value} in {count}" for value, count in counts.items()) if len(counts) > 1 else ""
