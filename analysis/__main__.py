"""python -m analysis tables SWEEP [--task TASK] [--price-per-hour P]: rebuild a sweep's tables from MLflow."""

import argparse
import math
import os
import sys
from contextlib import suppress
from pathlib import Path

from analysis.report import write_tables
from analysis.runs import RecordsError, recorded_tasks


def main(arguments: list[str]) -> int:
    """Write the tables of every task that the sweep was run on, or of one; 2 if none is recorded, or P is no price."""
    parser = argparse.ArgumentParser(prog="analysis", description=__doc__, exit_on_error=False)
    commands = parser.add_subparsers(dest="command", required=True)
    tables = commands.add_parser("tables", exit_on_error=False)
    tables.add_argument("sweep")
    tables.add_argument("--task", help="one task; otherwise every task that has records of the sweep")
    tables.add_argument("--results", default="results", type=Path)
    tables.add_argument("--price-per-hour", type=_price, help="of a GPU, or of the machine; otherwise the record's own")
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').absolute()}"
    try:
        options = parser.parse_args(arguments)
        tasks = [options.task] if options.task else recorded_tasks(uri, options.sweep)
        if not tasks:
            raise RecordsError(
                f"{uri}: no sweep {options.sweep!r} is recorded; run it first: just sweep {options.sweep}"
            )
        for task in tasks:
            print(write_tables(uri, options.sweep, task, options.results, options.price_per_hour))
    except (RecordsError, argparse.ArgumentError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _price(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a finite number above 0")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
