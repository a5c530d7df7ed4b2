"""Collect what a sweep's page shows from its record; pure."""

import shlex
from collections.abc import Sequence

from analysis.figures.data import Drawing
from analysis.figures.image_grid import Progress, Qualitative
from analysis.figures.style import for_dark_page
from analysis.records.names import PROVENANCE_TAGS, Tag
from analysis.records.schema import SweepRecord
from analysis.report.method import how_made, moment, times
from analysis.report.page import FigureView, Report, TrialLine
from analysis.report.settings import Pairs, differing_settings, main_settings, row_settings, shared_settings
from analysis.tables.caption import caption
from analysis.tables.formats import html, question
from analysis.tables.summary import sweep_command
from analysis.tables.table import Table, state_of

# The address of `just ui`.
LOCAL_UI = "http://127.0.0.1:5000"


def report(
    record: SweepRecord,
    made: Table,
    summary: Sequence[str],
    drawings: Sequence[Drawing],
    qualitative: Qualitative | None,
    progress: Progress | None,
) -> Report:
    """Return the page's content. summary: its paragraphs, from `summary_sentences`."""
    settings = row_settings(record)
    return Report(
        sweep=record.sweep,
        task=record.task,
        question=question(record),
        moment=moment(record),
        summary=tuple(summary),
        table=html(made),
        caption=caption(record, made.cells),
        notes=made.notes,
        # The page shows the images of the qualitative figure itself.
        figures=tuple(_view(drawing) for drawing in drawings if drawing.name != "qualitative"),
        qualitative=qualitative,
        progress=progress,
        how_made=how_made(record),
        main=tuple(main_settings(record).items()),
        settings=shared_settings(settings),
        differing=differing_settings(settings, record.axes),
        times=times(record),
        provenance=_provenance(record),
        trials=tuple(
            TrialLine(str(run["row"]), run["seed"], state_of(run), run["key"], _run_url(record, run["run_id"]))
            for run in record.trials
        ),
        commands=_commands(record),
    )


def _view(drawing: Drawing) -> FigureView:
    """Return a figure for the page, where an inch is 96 CSS pixels."""
    width, height = drawing.figure.get_size_inches() * 96
    dark = for_dark_page(drawing.svg)
    return FigureView(drawing.name, drawing.title, drawing.caption, drawing.alt, drawing.svg, dark, width, height)


def _provenance(record: SweepRecord) -> Pairs:
    """Return the values of each tag among the finished trials, and where the records are."""
    values = {name: dict.fromkeys(trial[tag] for trial in record.finished) for tag, name in PROVENANCE_TAGS.items()}
    texts = [(name, "; ".join(filter(None, found))) for name, found in values.items()]
    return (*((name, text) for name, text in texts if text), ("records", record.store))


def _run_url(record: SweepRecord, run_id: str) -> str:
    server = record.store if record.store.startswith("http") else LOCAL_UI
    return f"{server.rstrip('/')}/#/experiments/{record.experiment_id}/runs/{run_id}" if run_id else ""


def _commands(record: SweepRecord) -> Pairs:
    """Return the commands that reproduce the trials and the page, each with its purpose."""
    seeds = list(dict.fromkeys(record.runs.index.get_level_values("seed")))
    tables = shlex.join(["just", "tables", record.sweep, f"--task={record.task}"])
    commits = {commit for commit in record.runs[Tag.COMMIT] if commit not in ("", "unknown")}
    checkout = [f"git checkout {commit}" for commit in commits if len(commits) == 1 and commit.isalnum()]
    return (
        *(("Get this version of the code", command) for command in checkout),
        ("Train the missing trials and write this page", sweep_command(record, seeds)),
        ("Write this page again from the records", tables),
        ("Show the records in MLflow", "just ui"),
    )
