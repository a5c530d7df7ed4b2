"""From a sweep's record to its table; pure."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.runs import SweepRecord

SOURCE_ROW = "source, untranslated"
DASH = "–"


@dataclass(frozen=True)
class Column:
    """A metric as recorded, what a reader calls it, and the digits it deserves."""

    metric: str
    title: str
    digits: int


# In the table's order; a column without a single value is left out. The arrow points to the better side.
COLUMNS = (
    Column("last/fid", "FID, last ↓", 1),
    Column("best/fid", "FID, best ↓", 1),
    Column("last/kid", "KID, last ↓", 4),
    Column("last/fd_small_conv", "FD (small-conv), last ↓", 2),
    Column("best/fd_small_conv", "FD (small-conv), best ↓", 2),
    Column("last/kd_small_conv", "KD (small-conv), last ↓", 3),
    Column("last/background_change", "background change, levels of 255 ↓", 2),
    Column("cost/seconds_per_step", "seconds per step ↓", 3),
    Column("cost/peak_live_gb", "live tensors, peak GB ↓", 3),
    Column("cost/peak_allocated_gb", "CUDA allocated, peak GB ↓", 2),
)


# What depends on who else used the device.
TIMES = ("cost/seconds_per_step",)


@dataclass(frozen=True)
class Statistic:
    """A metric of a row over its finished seeds: mean, standard deviation of a sample (nan for one), count."""

    row: str
    metric: str
    mean: float
    std: float
    n: int


def summarise(record: SweepRecord) -> list[Statistic]:
    """One statistic a row and metric; the source's come first: the same scores for images of A left as they are."""
    runs = record.runs
    recorded = [
        column.metric for column in COLUMNS if column.metric in runs and bool(runs[column.metric].notna().any())
    ]
    timed, _ = _timed_alike(record)
    found: list[Statistic] = []
    for metric in recorded:
        source = metric.replace("last/", "source/")
        if source != metric and source in runs:
            found.append(_statistic(SOURCE_ROW, metric, runs[source].dropna().iloc[:1]))
    for row in record.rows:
        of_row = runs.loc[[row.row]]
        timed_alike = of_row[of_row["timed"] == timed] if "timed" in of_row else of_row
        found += [
            _statistic(row.row, metric, (timed_alike if metric in TIMES else of_row)[metric]) for metric in recorded
        ]
    return found


def table(record: SweepRecord, paper: Mapping[str, Mapping[str, float]]) -> tuple[pd.DataFrame, list[str]]:
    """The table as a reader sees it, cells as text, and its footnotes."""
    summary = {(found.row, found.metric): found for found in summarise(record)}
    rows, metrics = {row for row, _ in summary}, {metric for _, metric in summary}
    # Of a search's rows most are stopped, and have nothing to show.
    shown = [row.row for row in record.rows if set(record.runs.loc[[row.row]]["status"]) != {"KILLED"}]
    names = [*([SOURCE_ROW] if SOURCE_ROW in rows else []), *shown]
    cells = {
        column.title: [_cell(summary.get((name, column.metric)), column) for name in names]
        for column in COLUMNS
        if column.metric in metrics
    }
    references = {row.row: paper.get(row.paper, {}) for row in record.rows}
    if any(references.values()):
        title, values = _paper_column(record.task, references)
        cells[title] = [values.get(name, DASH) for name in names]
    return pd.DataFrame(cells, index=pd.Index(names, name="row")), _footnotes(record)


def _statistic(row: str, metric: str, values: pd.Series) -> Statistic:
    known: list[float] = values.dropna().to_numpy(dtype=float).tolist()
    mean = statistics.fmean(known) if known else math.nan
    return Statistic(row, metric, mean, statistics.stdev(known) if len(known) > 1 else math.nan, len(known))


def _cell(found: Statistic | None, column: Column) -> str:
    if found is None or found.n == 0:
        return DASH
    spread = f" ± {found.std:.{column.digits}f}" if found.n > 1 else ""
    count = f" (n = {found.n})" if found.row != SOURCE_ROW else ""
    return f"{found.mean:.{column.digits}f}{spread}{count}"


def _paper_column(task: str, references: Mapping[str, Mapping[str, float]]) -> tuple[str, dict[str, str]]:
    """The paper's FIDs on the same data, else those on horse2zebra, said to be another data set's."""
    same = any(task in values for values in references.values())
    data_set = task if same else "horse2zebra"
    title = "paper, FID" if same else f"paper, FID on {data_set} (another data set)"
    return title, {row: f"{values[data_set]:.1f}" for row, values in references.items() if data_set in values}


def _footnotes(record: SweepRecord) -> list[str]:
    """Why a seed is missing, one line for each; and which times are left out."""
    reasons = {
        "FAILED": "failed",
        "RUNNING": "is not finished",
        "SCHEDULED": "has not started",
        "MISSING": "has no run",
        "KILLED": "was stopped",
    }
    notes: list[str] = []
    for run in record.runs.reset_index().to_dict("records"):
        if run["status"] != "FINISHED":
            stopped = f" {run.get('stopped', '')}" if run["status"] == "KILLED" else ""
            why = f": {run['error']}" if run["error"] else ""
            what = reasons.get(run["status"], str(run["status"]).lower())
            notes.append(f"{run['row']}, seed {run['seed']} {what}{stopped.rstrip()}{why}")
    timed, left_out = _timed_alike(record)
    if left_out:
        how = timed or "before it was recorded how"
        notes.append(f"seconds per step are those of trials that ran {how}; {left_out} that ran otherwise are left out")
    return notes


def _timed_alike(record: SweepRecord) -> tuple[str, int]:
    """On which device, with how many threads and beside how many others most of the finished trials ran (the first of
    equals), and how many ran otherwise: times of the one say nothing about times of the other.
    """
    finished = record.runs[record.runs["status"] == "FINISHED"]
    if "timed" not in finished or finished.empty:
        return "", 0
    ways = pd.Series(finished["timed"]).value_counts(sort=False)
    most = str(ways.idxmax())
    return most, int(ways.sum() - ways[most])
