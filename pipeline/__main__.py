"""The commands: python -m pipeline COMMAND … (the justfile's recipes call these)."""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from analysis.records.schema import RecordsError
from pipeline.errors import UserError, first_line

RUN = "a trial's key, its run in MLflow, or a checkpoint's path"
SWEEP = "a file of sweeps/ without .yaml, or the path of a file"


def main(arguments: list[str]) -> int:
    """Run one command; 0 is success, 1 a trial that failed, 2 something for the user to mend."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    try:
        return _run(command, rest)
    except (UserError, RecordsError) as error:
        return _say(str(error))
    except OSError as error:
        return _say(f"{error.filename or 'a file'}: {error.strerror or error}; choose another place or free this one")
    except (MemoryError, RuntimeError) as error:
        from pipeline.hardware.memory import (
            is_out_of_memory,  # torch, which what raises a RuntimeError has imported by then
        )

        if not is_out_of_memory(error):
            raise
        return _say(f"not enough memory ({first_line(error)}); lower the sizes, or metric.batch_size")
    except KeyboardInterrupt:
        resumes = command in ("sweep", "train", "data")
        print(f"interrupted{'; the same command carries on from there' * resumes}", file=sys.stderr)
        return 130


def _run(command: str, arguments: list[str]) -> int:
    # Each command imports what it needs: torch, torch-fidelity and MLflow take seconds.
    match command:
        case "sweep":
            from pipeline.cli.sweep import sweep

            given = _parse(sweep.__doc__, arguments, {"name": SWEEP}, flags=("--quiet",))
            return sweep(given.name, given.overrides, quiet=given.quiet)
        case "plan":
            from pipeline.cli.plan import plan

            given = _parse(plan.__doc__, arguments, {"name": SWEEP}, flags=("--json", "--verbose"))
            return plan(given.name, given.overrides, as_json=given.json, verbose=given.verbose)
        case "status":
            from pipeline.cli.status import status

            given = _parse(status.__doc__, arguments, {"name": SWEEP}, flags=("--json",))
            return status(given.name, given.overrides, as_json=given.json)
        case "drop":
            from pipeline.cli.drop import drop

            given = _parse(drop.__doc__, arguments, {"name": SWEEP, "row": "the row's name"}, flags=("--yes",))
            return drop(given.name, given.row, given.overrides, yes=given.yes)
        case "promote":
            from pipeline.cli.promote import promote

            given = _parse(promote.__doc__, arguments, {"name": SWEEP}, options={"--count": "3", "--to": None})
            return promote(given.name, given.overrides, count=_whole(given.count, "--count"), target=given.to)
        case "data":
            from pipeline.data.catalog import fetch_dataset

            options = {"--from": None, "--url": None, "--to": "datasets"}
            given = _parse(fetch_dataset.__doc__, arguments, {"name": "the data set"}, options=options, overrides=False)
            source = getattr(given, "from")
            print(fetch_dataset(given.name, Path(given.to), Path(source) if source else None, given.url))
            return 0
        case "bench":
            from pipeline.cli.bench import BenchOptions, bench

            counts = ("trials", "repeats", "images")
            what = {"what": "step, data, pack, fid, sweep or tables"}
            options = {f"--{name}": None for name in (*counts, "ways")}
            given = _parse(bench.__doc__, arguments, what, ("--json", "--compile"), options)
            numbers = {name: _whole(text, f"--{name}") for name in counts if (text := getattr(given, name)) is not None}
            return bench(
                given.what,
                given.overrides,
                BenchOptions(**numbers, ways=given.ways, compile=given.compile),
                as_json=given.json,
            )
        case "doctor":
            from pipeline.cli.doctor import doctor

            given = _parse(doctor.__doc__, arguments, {}, flags=("--json",))
            return doctor(given.overrides, as_json=given.json)
        case "train":
            from pipeline.cli.train import train

            return train(_parse(train.__doc__, arguments, {}).overrides)
        case "evaluate":
            from pipeline.cli.evaluate import evaluate

            given = _parse(evaluate.__doc__, arguments, {"what": f"{RUN}; or a folder of images"})
            return evaluate(given.what, given.overrides)
        case "translate":
            from pipeline.cli.translate import translate

            places = {"run": RUN, "input": "an image file or a folder of them", "output": "a folder, or a PNG's name"}
            given = _parse(translate.__doc__, arguments, places)
            return translate(given.run, Path(given.input), Path(given.output), given.overrides)
        case "export":
            from pipeline.cli.export import export

            given = _parse(export.__doc__, arguments, {"run": RUN, "folder": "where the files go"})
            return export(given.run, Path(given.folder), given.overrides)
        case _:
            raise UserError(f"no command is called {command!r}; just lists them")


class _Parser(argparse.ArgumentParser):
    """argparse, whose errors are lines like all others."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"command line: {message}; just lists the commands and their words")


def _parse(
    does: str | None,
    arguments: list[str],
    places: dict[str, str],
    flags: tuple[str, ...] = (),
    options: Mapping[str, str | None] | None = None,
    *,
    overrides: bool = True,
) -> argparse.Namespace:
    """A command's words, its overrides, and its flags and options wherever among them they stand."""
    parser = _Parser(prog="just", description=does)
    for name, meaning in places.items():
        parser.add_argument(name, help=meaning)
    if overrides:
        parser.add_argument("overrides", nargs="*", help="task=NAME, seeds=[0,1], model.temperature=0.1, …")
    for flag in flags:
        parser.add_argument(flag, action="store_true")
    for option, default in (options or {}).items():
        parser.add_argument(option, default=default)
    return parser.parse_intermixed_args(arguments)


def _whole(text: str, name: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"command line: {name} is {text!r}; it must be a whole number above 0")
    return int(text)


def _say(error: str) -> int:
    """One line, whatever a file's name holds, and the exit code of what the user can mend."""
    print(f"error: {' '.join(error.splitlines())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Taking torch, MLflow and Ray apart object by object takes one to two seconds and frees nothing that this does not.
    os._exit(code)
