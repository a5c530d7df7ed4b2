"""python -m analysis tables SWEEP | compare A B | docs: rebuild what a sweep came to, or set two beside one another."""

import argparse
import math
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from analysis.records.mlflow_reader import read_sweep, recorded_tasks
from analysis.records.schema import RecordsError
from analysis.report.readme import rebuild
from analysis.report.write import write_results
from analysis.tables.compare import Side, comparison


def main(arguments: list[str]) -> int:
    """Run one command; 2 for what is not recorded, or cannot be meant."""
    try:
        options = _parser().parse_args(arguments)
        options.run(options)
    except (RecordsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


class _Parser(argparse.ArgumentParser):
    """A parser that tells what is wrong instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        raise RecordsError(f"command line: {message}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="analysis", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        added = commands.add_parser(name)
        added.set_defaults(run=run)
        return added

    tables = command("tables", _tables)
    tables.add_argument("sweep")
    tables.add_argument("--task", help="one task; otherwise every task that has records of the sweep")
    tables.add_argument("--results", default="results", type=Path)
    tables.add_argument("--price-per-hour", type=_price, help="of a GPU, or of the machine; otherwise the record's own")
    compare = command("compare", _compare)
    compare.add_argument("one", help="SWEEP, SWEEP/TASK, or either with @RESULT_VERSION")
    compare.add_argument("other")
    compare.add_argument("--other-store", help="the MLflow store of the second; otherwise that of both")
    command("docs", lambda _: rebuild())
    return parser


def _tables(options: argparse.Namespace) -> None:
    uri = _store()
    for task in [options.task] if options.task else recorded_tasks(uri, options.sweep):
        print(write_results(uri, options.sweep, task, options.results, options.price_per_hour))


def _compare(options: argparse.Namespace) -> None:
    one = _side(_store(), options.one)
    other = _side(options.other_store or _store(), options.other)
    if one.name == other.name and options.other_store:
        one, other = Side(f"{one.name} here", one.record), Side(f"{other.name} there", other.record)
    print(comparison(one, other), end="")


def _side(uri: str, spec: str) -> Side:
    """The record that 'SWEEP/TASK@VERSION' names, where the task may be left out if there is one, and the version."""
    place, _, version = spec.partition("@")
    sweep, _, task = place.partition("/")
    if not task:
        tasks = recorded_tasks(uri, sweep)
        if len(tasks) > 1:
            known = ", ".join(f"{sweep}/{known}" for known in tasks)
            raise RecordsError(f"{spec}: the sweep was run on several tasks; name one: {known}")
        (task,) = tasks
    return Side(spec, read_sweep(uri, sweep, task, version))


def _store() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').absolute()}"


def _price(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a finite number above 0")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
