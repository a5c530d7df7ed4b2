"""Write an overview of all sweeps whose results lie in a folder, from their files alone."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from analysis.records.csv_files import read_csv
from analysis.records.names import last_metric, metric_of, score_label
from analysis.records.schema import SweepRecord
from analysis.report.page import render
from analysis.statistics.estimates import main_score, rows_scored_differently, summary, values_of
from analysis.tables.write import write_files

PAGE = "index.html"
# Begins every overview. A page without it is somebody's own and stays.
OURS = "<!doctype html>\n<!-- overview of sweeps -->\n"


@dataclass(frozen=True)
class Line:
    """A sweep on a task. link: to its report. best: its row with the lowest mean score, and that score, or ''."""

    sweep: str
    task: str
    link: str
    question: str
    done: str
    best: str
    written: str


def write_overview(results: Path) -> None:
    """Write results/index.html: a line for each results/<sweep>/<task> with a report. Other folders are passed over.

    A page of that name which is no overview is not changed.
    """
    target = results / PAGE
    if target.exists() and not target.read_bytes().startswith(OURS.encode()):
        return
    lines = [line for folder in sorted(results.glob("*/*")) if (line := _line(folder)) is not None]
    write_files(results, {PAGE: OURS + render("overview.html.jinja", lines=lines)})


def _line(folder: Path) -> Line | None:
    """Return the line of a folder; None where its files are missing, damaged or of something else."""
    try:
        record, _ = read_csv(folder)
        written = datetime.fromtimestamp((folder / PAGE).stat().st_mtime, UTC)
        best = _best_row(record)
    except Exception:  # whatever a damaged file leads to
        return None
    return Line(
        record.sweep,
        record.task,
        "/".join(quote(part) for part in (*folder.parts[-2:], PAGE)),
        record.question,
        f"{len(record.finished)} of {len(record.trials)}",
        best,
        written.strftime("%Y-%m-%d %H:%M UTC"),
    )


def _best_row(record: SweepRecord) -> str:
    """Return the row with the lowest mean of the main score, and this mean; '' if no trial has one."""
    values = values_of(record)
    if (score := main_score(values)) is None:
        return ""
    means, unlike = summary(values, last_metric(score)), rows_scored_differently(record)
    known = [row.row for row in record.rows if means[row.row].n and row.row not in unlike]
    if not known:
        return ""
    best = min(known, key=lambda row: means[row].mean)
    n = means[best].n
    value = f"{means[best].mean:.{metric_of(last_metric(score)).digits}f}"
    return f"{best}: {score_label(score)} {value} ({n} seed{'s' * (n > 1)})"
