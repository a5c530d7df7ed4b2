"""Run a command: python -m pipeline COMMAND … (the justfile's recipes and the script cut-ablation do the same).

The code of a command is in a file of its name in pipeline/cli, or in analysis/cli if it only reads records.
"""

if __name__ == "__main__":
    # Before all other imports, which take tenths of a second: Ctrl-C in one of them would print a traceback. These two
    # are loaded already; `signal` would load more.
    import _signal  # pyright: ignore[reportMissingImports] (built in; it has no stub)
    import os

    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, lambda *_: (os.write(2, b"Interrupted.\n"), os._exit(130)))

import argparse
import errno
import os
import sys
import threading
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

from analysis.records.address import without_password
from analysis.records.printable import printable
from analysis.records.schema import RecordsError
from pipeline.command_line import hide_password, parse
from pipeline.environment import (
    environment,
    library_settings,
    remove_process_folder,
    restart_by_plain_path,
    temporary_files_here,
)
from pipeline.errors import UserError, first_line
from pipeline.signals import INTERRUPTED, at_first_signal, interrupt, interrupt_at_once, is_importing, never

# Before any library is imported. Child processes inherit it.
for variable, value in library_settings(Path(".cache").absolute()).items():
    os.environ.setdefault(variable, value)

RESUMABLE = ("sweep", "train", "data", "migrate")
# What a command says before it imports torch, MLflow or pandas, which takes seconds.
FIRST_LINES = {
    **dict.fromkeys(("train", "evaluate", "translate", "export", "bench"), "Loading torch."),
    **dict.fromkeys(("tables", "compare"), "Reading the records."),
    **dict.fromkeys(("drop", "promote"), "Looking up the trials."),
    "migrate": "Reading the records.",
    "doctor": "Checking this machine.",
}
# A search can have hundreds of faulty rows.
MOST_FAULTS = 10
WHAT_TO_DO = {
    errno.ENOSPC: "Free space on that disk, or choose a folder on another one",
    errno.EACCES: "Change its permissions, or choose another path",
    errno.EEXIST: "Choose another path",
}


def main(arguments: Sequence[str], interrupted: Callable[[], bool] = never) -> int:
    """Run one command. interrupted: whether Ctrl-C or another signal has asked for its end.

    Returns 0 for success, 1 if a trial or a check failed, 2 for an error that the user can fix, 130 after Ctrl-C.
    """
    arguments, password = hide_password(arguments)
    try:
        with environment(password), temporary_files_here():
            return run(parse(arguments))
    except KeyboardInterrupt:
        print(_farewell(arguments), file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        # A library can turn the KeyboardInterrupt into an error of its own.
        if interrupted():
            print(_farewell(arguments), file=sys.stderr)
            return INTERRUPTED
        return _fail(*_faults(error))


def script() -> NoReturn:
    """Run the command in sys.argv and end the process."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # An encoding that lacks a character must not cost a result: the character's code is printed.
            stream.reconfigure(errors="backslashreplace")
    try:
        restart_by_plain_path()
    except UserError as error:
        sys.exit(_fail(str(error)))
    command, *options = sys.argv[1:] or [""]
    if command in FIRST_LINES and not {"-h", "--help"} & {*options}:
        print(FIRST_LINES[command], file=sys.stderr, flush=True)
    interrupted = threading.Event()

    def end() -> None:
        interrupted.set()
        if is_importing():
            # Libraries catch errors during imports, and would go on. Nothing is half done there.
            remove_process_folder()
            interrupt_at_once(_farewell(sys.argv[1:]))
        interrupt()

    with at_first_signal(end):
        code = main(sys.argv[1:], interrupted.is_set)
        remove_process_folder()
    sys.stdout.flush()
    sys.stderr.flush()
    # A normal exit destroys the objects of torch, MLflow and Ray one by one, which takes one to two seconds.
    os._exit(code)


def run(given: argparse.Namespace) -> int:
    """Run a parsed command and return its exit code."""
    # Each command imports its own modules: torch, torch-fidelity and MLflow take seconds.
    match given.command:
        case "sweep":
            from pipeline.cli.sweep import sweep

            return sweep(given.name, given.overrides, quiet=given.quiet)
        case "submit":
            from pipeline.cli.submit import submit

            return submit(given.name, given.overrides, status=given.status, logs=given.logs, stop=given.stop)
        case "plan":
            from pipeline.cli.plan import plan

            return plan(given.name, given.overrides, as_json=given.json, verbose=given.verbose)
        case "status":
            from pipeline.cli.status import status

            return status(given.name, given.overrides, as_json=given.json, watch=given.watch)
        case "stop":
            from pipeline.cli.stop import stop

            return stop(given.name, given.row, given.overrides)
        case "drop":
            from pipeline.cli.drop import drop

            return drop(given.name, given.row, given.overrides, yes=given.yes)
        case "clean":
            from pipeline.cli.clean import clean

            return clean(given.overrides, yes=given.yes, as_json=given.json)
        case "promote":
            from pipeline.cli.promote import promote

            return promote(given.name, given.overrides, count=given.count, target=given.to)
        case "tables":
            from analysis.cli.tables import tables
            from analysis.store.open_store import default_store
            from pipeline.config.schema import PathsConfig
            from pipeline.trial.waiting_records import send_waiting_records

            send_waiting_records(PathsConfig(trials=given.trials), default_store())
            return tables(given.name, given.task, given.results, given.price_per_hour, given.columns)
        case "compare":
            from analysis.cli.compare import compare

            return compare(given.one, given.other, given.other_store)
        case "ui":
            from pipeline.cli.ui import ui

            return ui(given.name, given.port)
        case "server":
            from pipeline.cli.server import server

            return server(given.host, given.port, given.store, given.artifacts, given.allowed_hosts, auth=given.auth)
        case "migrate":
            from pipeline.cli.migrate import migrate

            return migrate(given.source, given.target)
        case "data":
            from pipeline.cli.data import data

            return data(given.name, given.to, given.source, given.url)
        case "train":
            from pipeline.cli.train import train

            return train(given.overrides)
        case "evaluate":
            from pipeline.cli.evaluate import evaluate

            return evaluate(given.what, given.overrides)
        case "translate":
            from pipeline.cli.translate import translate

            return translate(given.run, given.input, given.output, given.overrides)
        case "export":
            from pipeline.cli.export import export

            return export(given.run, given.folder, given.overrides, onnx=given.onnx, torch_export=given.torch_export)
        case "doctor":
            from pipeline.cli.doctor import doctor

            return doctor(given.overrides, as_json=given.json)
        case "bench":
            from pipeline.cli.bench import bench

            return bench(given)
        case _:
            from analysis.cli.docs import docs

            return docs()


def describe_os_error(error: OSError) -> str:
    """Return which file an operation failed on, why, and what to do."""
    if error.filename is None:
        return f"{error.strerror or error}"
    return f"{error.filename}: {error.strerror}. {WHAT_TO_DO.get(error.errno or 0, 'Check the path')}."


def _faults(error: Exception) -> Sequence[str]:
    """Return what the user can correct, a line for each fault. Raises the error if it is none of the user's."""
    match error:
        case UserError():
            return error.faults
        case RecordsError():
            return [str(error)]
        case OSError():
            return [describe_os_error(error)]
        case MemoryError() | RuntimeError():
            # Imports torch. A RuntimeError comes from torch, so torch is loaded already.
            from pipeline.hardware.memory import is_out_of_memory

            if is_out_of_memory(error):
                advice = "Lower data.size, train.batch_size or metric.batch_size."
                return [f"Out of memory ({first_line(error)}). {advice}"]
        case _:
            pass
    raise error


def _farewell(arguments: Sequence[str]) -> str:
    return f"Interrupted.{' Run the same command to resume.' if {*arguments[:1]} & {*RESUMABLE} else ''}"


def _fail(*faults: str) -> int:
    """Print each fault as one line, even if a file name in it has line breaks. Return the exit code 2."""
    for fault in faults[:MOST_FAULTS]:
        print(f"error: {without_password(printable(' '.join(fault.splitlines())))}", file=sys.stderr)
    if len(faults) > MOST_FAULTS:
        print(f"error: {len(faults) - MOST_FAULTS} more faults are not shown", file=sys.stderr)
    return 2


if __name__ == "__main__":
    script()
