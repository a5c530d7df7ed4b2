"""From a sweep's record to its table; pure."""

import math
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.runs import SweepRecord

SOURCE_ROW = "source, untranslated"
DASH = "–"


@dataclass(frozen=True)
class Column:
    """A metric as recorded, what a reader calls it, the digits it deserves, and by what it is multiplied."""

    metric: str
    title: str
    digits: int
    factor: float = 1.0


# In the table's order; a column without a single value is left out. The arrow points to the better side.
COLUMNS = (
    Column("last/fid", "FID, last ↓", 1),
    Column("best/fid", "FID, best ↓", 1),
    Column("last/fd_small_conv", "FD (small-conv), last ↓", 2),
    Column("best/fd_small_conv", "FD (small-conv), best ↓", 2),
    Column("best/epoch", "epoch of the best", 0),
    Column("last/kid", "KID, last ↓", 4),
    Column("last/kd_small_conv", "KD (small-conv), last ↓", 3),
    Column("last/precision", "precision, last ↑", 3),
    Column("last/recall", "recall, last ↑", 3),
    Column("last/precision_small_conv", "precision (small-conv), last ↑", 3),
    Column("last/recall_small_conv", "recall (small-conv), last ↑", 3),
    Column("last/lpips", "LPIPS to the input, last ↓", 3),
    Column("last/fd_dinov2", "FD (DINOv2), last ↓", 1),
    Column("last/mAP", "mAP, last ↑", 1),
    Column("last/pixAcc", "pixAcc, last ↑", 1),
    Column("last/classAcc", "classAcc, last ↑", 1),
    Column("last/background_change", "background change, levels of 255 ↓", 2),
    Column("cost/seconds_per_iteration", "seconds per iteration ↓", 3),
    Column("cost/training_peak_live_gb", "live tensors in training, peak GB ↓", 3),
    Column("cost/training_peak_allocated_gb", "CUDA allocated in training, peak GB ↓", 2),
    Column("cost/training_peak_reserved_gb", "CUDA reserved in training, peak GB ↓", 2),
    Column("cost/joules_per_1000_iterations", "joules per 1000 iterations ↓", 0),
)

# What tables are made of; the rest of a trial's metrics is its course.
VALUES = ("last/", "best/", "source/", "cost/")

# What depends on who else used the device.
TIMES = (
    "cost/seconds_per_iteration",
    "cost/data_seconds_per_iteration",
    "cost/seconds_per_step",
    "cost/seconds_per_evaluation",
    "cost/training_seconds",
    "cost/evaluation_seconds",
    "cost/joules_per_1000_iterations",
    "cost/device_hours",
)

# What scores of one table must share to be comparable: the tag, and what a reader calls it.
SHARED = {
    **{name: name for name in ("extractor", "weights", "layer", "resize", "arithmetic")},
    **{"image_size": "images' size", "images_a": "images of A", "images_b": "images of B"},
    **{"kid_subset_size": "KID's subsets", "vgg16": "VGG16's weights", "lpips-vgg16": "LPIPS's weights"},
    **{"dinov2-vit-l-14": "DINOv2's weights", "segmenter": "segmentation network"},
}


@dataclass(frozen=True)
class Statistic:
    """A metric of a row over its finished seeds: mean, standard deviation of a sample (nan for one), count."""

    row: str
    metric: str
    mean: float
    std: float
    n: int


def columns_of(record: SweepRecord) -> list[Column]:
    """The columns that have a value; the last of them, where there is a price, what a trial costs."""
    price = record.price_per_hour
    priced = [Column("cost/device_hours", f"cost a trial, at {price:g} an hour ↓", 2, price)] if price else []
    recorded = _recorded(record)
    return [column for column in (*COLUMNS, *priced) if column.metric in recorded]


def summarise(record: SweepRecord) -> list[Statistic]:
    """One statistic a row and value, those of the table's columns before the others; the source's come first: the same
    scores for images of A left as they are."""
    runs = record.runs
    in_table = [column.metric for column in columns_of(record)]
    recorded = [*in_table, *sorted(_recorded(record) - set(in_table))]
    timed, _ = _timed_alike(record)
    found: list[Statistic] = []
    if any(name.startswith("source/") for name in recorded):
        none = pd.Series(dtype=float)
        for metric in recorded:
            source = f"source/{metric.removeprefix('last/')}"
            found.append(_statistic(SOURCE_ROW, metric, runs[source].dropna().iloc[:1] if source in runs else none))
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
    rows = {row for row, _ in summary}
    # Of a search's rows most are stopped, and have nothing to show.
    shown = [row.row for row in record.rows if set(record.runs.loc[[row.row]]["status"]) != {"KILLED"}]
    names = [*([SOURCE_ROW] if SOURCE_ROW in rows else []), *shown]
    cells = {
        column.title: [_cell(summary[name, column.metric], column) for name in names] for column in columns_of(record)
    }
    references = {row.row: paper.get(row.paper, {}) for row in record.rows}
    if any(references.values()):
        title, values = _paper_column(record.task, references)
        cells[title] = [values.get(name, DASH) for name in names]
    return pd.DataFrame(cells, index=pd.Index(names, name="row")), _footnotes(record)


def _recorded(record: SweepRecord) -> set[str]:
    """The values that any trial has ended with."""
    runs = record.runs
    return {str(name) for name in runs.columns[runs.notna().any()] if str(name).startswith(VALUES)}


def _statistic(row: str, metric: str, values: pd.Series) -> Statistic:
    known: list[float] = values.dropna().to_numpy(dtype=float).tolist()
    mean = statistics.fmean(known) if known else math.nan
    return Statistic(row, metric, mean, statistics.stdev(known) if len(known) > 1 else math.nan, len(known))


def _cell(found: Statistic, column: Column) -> str:
    if found.n == 0:
        return DASH
    mean, std = found.mean * column.factor, found.std * column.factor
    spread = f" ± {std:.{column.digits}f}" if found.n > 1 else ""
    count = f" (n = {found.n})" if found.row != SOURCE_ROW else ""
    return f"{mean:.{column.digits}f}{spread}{count}"


def _paper_column(task: str, references: Mapping[str, Mapping[str, float]]) -> tuple[str, dict[str, str]]:
    """The paper's FIDs on the same data, else those on horse2zebra, said to be another data set's."""
    same = any(task in values for values in references.values())
    data_set = task if same else "horse2zebra"
    title = "paper, FID" if same else f"paper, FID on {data_set} (another data set)"
    return title, {row: f"{values[data_set]:.1f}" for row, values in references.items() if data_set in values}


def _footnotes(record: SweepRecord) -> list[str]:
    """Why a seed is missing, one line for each; which times are left out; and what the scores do not share."""
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
        notes.append(
            f"times, energy and cost are those of trials that ran {how}; {left_out} that ran otherwise are left out"
        )
    differing = [f"{name} ({values})" for tag, name in SHARED.items() if (values := _differing(record, tag))]
    return [*notes, *([f"scores are not all comparable: trials differ in {'; '.join(differing)}"] if differing else [])]


def _differing(record: SweepRecord, tag: str) -> str:
    """The values of a tag among the finished trials, each with the number of its trials; '' where they are one."""
    trials = record.runs.to_dict("records")
    counts = Counter(trial[tag] for trial in trials if trial["status"] == "FINISHED" and trial.get(tag))
    return ", ".join(f"{value} in {count}" for value, count in counts.items()) if len(counts) > 1 else ""


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
