"""What was written of a sweep and from which records, so that the same is not written again; and how it is shown."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

import analysis
from analysis.store.overview import recorded_tasks
from analysis.store.reader import RecordedTrials, read_trials

# In a sweep's folder: `Written`, the state of the records, and a digest of each file.
STATE_FILE = "written.json"


@dataclass(frozen=True)
class Written:
    """The results of a sweep in a folder.

    columns, rows: the table as a terminal shows it. best: a sentence on the best row, or ''. summary: its sentences.
    description: of the sweep, for MLflow.
    """

    folder: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: str
    summary: tuple[str, ...]
    description: str

    @property
    def page(self) -> Path:
        """The absolute path of the report."""
        return (self.folder / "index.html").absolute()

    def show(self, console: Console, report: str = "") -> None:
        """Print the table, the summary, and where the report is. report: its address, if it is not in the folder."""
        table = Table(*map(escape, self.columns))
        for column in table.columns[1:]:
            column.justify = "right"
        for row in self.rows:
            table.add_row(*map(Text, row))
        console.print(table)
        for sentence in filter(None, (self.best, *self.summary)):
            console.print(sentence, markup=False, highlight=False, soft_wrap=True)
        place, link = (report, report) if "://" in report else (str(self.page), self.page.as_uri())
        console.print(Text.assemble("Report: ", (place, f"link {link}")), soft_wrap=True)


def state_of_records(uri: str, sweep: str, task: str) -> str:
    """Return a hash of all that a sweep's results are made from: its records on all of its tasks, and the code."""
    tasks = [task, *(other for other in recorded_tasks(uri, sweep) if other != task)]
    records = [_content(read_trials(uri, sweep, each)) for each in tasks]
    state = hashlib.sha256(json.dumps([uri, tasks, records], sort_keys=True).encode())
    for file in sorted(Path(analysis.__path__[0]).rglob("*")):
        if file.is_file() and file.suffix != ".pyc":
            state.update(file.read_bytes())
    return state.hexdigest()


def _content(found: RecordedTrials) -> list[Any]:
    runs = {key: [run.start_time, run.end_time, dict(run.params)] for key, run in found.runs.items()}
    return [asdict(found.manifest), found.lines, dict(found.other_seeds), runs]


def note_written(written: Written, state: str) -> None:
    """Note what was written, from which state of the records."""
    content = {**asdict(written), "folder": "", "state": state, "files": _digests(written.folder)}
    partial = written.folder / f"{STATE_FILE}.partial"
    partial.write_text(json.dumps(content), encoding="utf-8")
    partial.rename(written.folder / STATE_FILE)


def still_written(folder: Path, state: str) -> Written | None:
    """Return what was written into a folder; None if the records, the code or one of the files have changed since."""
    try:
        content = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        if (content.pop("state"), content.pop("files")) != (state, _digests(folder)):
            return None
        rows = tuple(tuple(row) for row in content["rows"])
        texts = {name: tuple(content[name]) for name in ("columns", "summary")}
        return Written(**{**content, **texts, "folder": folder, "rows": rows})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # not written yet, or damaged: write it
        return None


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(STATE_FILE))
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
