"""just tables: write the tables, figures and report of a sweep from its records."""

from pathlib import Path

from analysis.records.mlflow_reader import default_store, recorded_tasks
from analysis.report.write import write_results


def tables(sweep: str, task: str | None, results: Path, price_per_hour: float | None) -> int:
    """Write results/SWEEP/TASK for one task, or for all tasks that have records of the sweep."""
    uri = default_store()
    for name in [task] if task else recorded_tasks(uri, sweep):
        print(write_results(uri, sweep, name, results, price_per_hour))
    return 0
