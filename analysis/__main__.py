"""python -m analysis tables SWEEP [--task TASK]: rebuild a sweep's tables from MLflow's records alone."""

import argparse
import os
import sys
from pathlib import Path

from analysis.report import write_tables
from analysis.runs import RecordsError, recorded_tasks


def main(arguments: list[str]) -> int:
    """Write the tables of every task that the sweep was run on, or of one; 2 where nothing is recorded."""
    parser = argparse.ArgumentParser(prog="analysis", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    tables = commands.add_parser("tables")
    tables.add_argument("sweep")
    tables.add_argument("--task", help="one task; otherwise every task that has records of the sweep")
    tables.add_argument("--results", default="results", type=Path)
    options = parser.parse_args(arguments)
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').absolute()}"
    try:
        tasks = [options.task] if options.task else recorded_tasks(uri, options.sweep)
        if not tasks:
            raise RecordsError(
                f"{uri}: no sweep {options.sweep!r} is recorded; run it first: just sweep {options.sweep}"
            )
        for task in tasks:
            print(write_tables(uri, options.sweep, task, options.results))
    except RecordsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
