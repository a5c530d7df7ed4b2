"""Write a sweep's tables from MLflow's records; fast enough to run whenever a trial ends."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from analysis.records.schema import SweepRecord
from analysis.statistics.paper_values import load_paper
from analysis.store.reader import read_sweep
from analysis.tables.columns import named_columns
from analysis.tables.formats import html, latex, markdown
from analysis.tables.table import Table, table


def write_tables(uri: str, sweep: str, task: str, results: Path) -> None:
    """Write results/<sweep>/<task>/table.md, .tex and .html."""
    record = read_sweep(uri, sweep, task)
    write_files(results / sweep / task, tables_of(record, table(record, load_paper())))


def tables_of(record: SweepRecord, made: Table, columns: Sequence[str] = ()) -> Mapping[str, str]:
    """Return the files' texts by file name. columns: names of further columns of table.tex (`named_columns`)."""
    tex = latex(record, made, named_columns(columns, made.cells))
    return {"table.md": markdown(record, made), "table.tex": tex, "table.html": html(made)}


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write each file atomically, since others may read results while they are rebuilt.

    Raises OSError with the name of the file that cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        partial = folder / f"{name}.{os.getpid()}.partial"
        try:
            partial.write_bytes(content.encode() if isinstance(content, str) else content)
            partial.rename(folder / name)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(folder / name)) from error
