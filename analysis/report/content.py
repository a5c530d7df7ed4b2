"""From a sweep's record to what its page says; pure."""

import shlex
from collections.abc import Sequence

from analysis.figures.data import Drawing
from analysis.figures.image_grid import Qualitative
from analysis.figures.style import to_svg
from analysis.records.names import Tag
from analysis.records.schema import SweepRecord
from analysis.report.page import FigureView, Report, TrialLine
from analysis.tables.caption import legend
from analysis.tables.formats import asked, html
from analysis.tables.summary import findings
from analysis.tables.table import Table, state_of

# Where `just ui` shows a store that is no server's.
LOCAL_UI = "http://127.0.0.1:5000"
# What `just train` records its trial as.
SINGLE = "single"
# What a page says of where its numbers come from: the tag of its trials, and what a reader calls it.
PROVENANCE = {
    Tag.COMMIT: "commit of the code",
    Tag.RESULT_VERSION: "result version",
    Tag.DATA_FINGERPRINT: "data fingerprint",
    Tag.TIMED: "trained",
    Tag.TORCH: "torch",
    Tag.EXTRACTOR: "features of",
    Tag.WEIGHTS: "weights of these features",
    Tag.LAYER: "layer",
    Tag.RESIZE: "resize",
    Tag.IMAGE_SIZE: "images' size",
    Tag.IMAGES_A: "test images of A",
    Tag.IMAGES_B: "test images of B",
    Tag.COMPUTED_BY: "scored by",
}


def report(record: SweepRecord, made: Table, drawings: Sequence[Drawing], qualitative: Qualitative | None) -> Report:
    """The page's content."""
    return Report(
        sweep=record.sweep,
        task=record.task,
        question=asked(record),
        findings=findings(record),
        table=html(made),
        legend=legend(record, made.cells),
        notes=made.notes,
        # The page has the qualitative images themselves.
        figures=tuple(_view(drawing) for drawing in drawings if drawing.name != "qualitative"),
        qualitative=qualitative,
        settings=_settings(record),
        provenance=_provenance(record),
        trials=tuple(
            TrialLine(str(run["row"]), run["seed"], state_of(run), run["key"], _run_url(record, run["run_id"]))
            for run in record.trials
        ),
        commands=_commands(record),
    )


def _view(drawing: Drawing) -> FigureView:
    """A figure for the page, on which an inch is 96 CSS pixels."""
    width, height = drawing.figure.get_size_inches() * 96
    light, dark = to_svg(drawing.figure), to_svg(drawing.figure, dark=True)
    return FigureView(drawing.name, drawing.title, drawing.caption, drawing.alt, light, dark, width, height)


def _settings(record: SweepRecord) -> tuple[tuple[str, str], ...]:
    """What all rows share, what each of them is, and the default row's model in full."""
    shared = [("all rows", ", ".join((*record.base, *record.overrides)))] if record.base or record.overrides else []
    rows = [
        (row.row, ", ".join(f"{name} = {row.settings[name]}" for name in record.axes if name in row.settings))
        for row in record.rows
    ]
    (default,) = (row for row in record.rows if row.row == record.default)
    model = ", ".join(f"{name.removeprefix('model.')} = {value}" for name, value in default.settings.items())
    return (
        *shared,
        *((row, text or "nothing of its own") for row, text in rows),
        *([(f"{default.row}, in full", model)] if model else []),
    )


def _provenance(record: SweepRecord) -> tuple[tuple[str, str], ...]:
    """Every value that the finished trials have for a tag, and where the records are."""
    values = {name: dict.fromkeys(trial[tag] for trial in record.finished) for tag, name in PROVENANCE.items()}
    told = [(name, "; ".join(value for value in found if value)) for name, found in values.items()]
    return (*((name, text) for name, text in told if text), ("records", record.store))


def _run_url(record: SweepRecord, run_id: str) -> str:
    server = record.store if record.store.startswith("http") else LOCAL_UI
    return f"{server.rstrip('/')}/#/experiments/{record.experiment_id}/runs/{run_id}" if run_id else ""


def _commands(record: SweepRecord) -> tuple[tuple[str, str], ...]:
    """How to get all this again: the same trials, or the same page from the same records."""
    seeds = ",".join(str(seed) for seed in dict.fromkeys(record.runs.index.get_level_values("seed")))
    commits = {commit for commit in record.runs[Tag.COMMIT] if commit}
    again = ["just", "sweep", record.file or record.sweep, *record.command, f"seeds=[{seeds}]"]
    if record.sweep == SINGLE:
        again = ["just", "train", *record.command, f"seed={seeds}"]
    code = [("the code", f"git checkout {commit}") for commit in commits if len(commits) == 1 and commit.isalnum()]
    return (
        *code,
        (
            "train what is not trained, and write this page",
            shlex.join(again),
        ),
        (
            "write this page again, from the records alone",
            shlex.join(["just", "tables", record.sweep, f"--task={record.task}"]),
        ),
        ("the records themselves", "just ui"),
    )
