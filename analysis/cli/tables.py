"""just tables: write the tables, figures and report of a sweep from its records."""

from collections.abc import Sequence
from pathlib import Path

from analysis.records.console import wide_console
from analysis.records.names import sweep_name
from analysis.records.progress import tracked
from analysis.report.write import write_results
from analysis.store.open_store import default_store
from analysis.store.overview import recorded_tasks


def tables(given: str, task: str | None, results: Path, price_per_hour: float | None, columns: Sequence[str]) -> int:
    """Write results/SWEEP/TASK for one task, or for all tasks that have records of the sweep.

    given: the name of the sweep, or its file. columns: further columns of table.tex.
    """
    uri, sweep = default_store(), sweep_name(given)
    console = wide_console()
    names = [task] if task else recorded_tasks(uri, sweep)
    for name in tracked(names, len(names), f"{sweep}: tables, figures and report"):
        write_results(uri, sweep, name, results, price_per_hour, columns).show(console)
    return 0
