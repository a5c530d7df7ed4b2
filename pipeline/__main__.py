"""The command line. `just sweep …`, `cut-ablation sweep …` and `python -m pipeline sweep …` are the same.

`build_parser` lists every command with its arguments. `run` calls it: its code is in pipeline/cli, or in analysis/cli
for the commands that only read records, in a file of the command's name.
"""

import argparse
import errno
import math
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from analysis.records.schema import RecordsError
from pipeline.errors import UserError, first_line, nearest

RUN = "key of a trial, id of its MLflow run, or path of a checkpoint"
SWEEP = "name of a file in sweeps/ without .yaml, or path of a sweep file"
RESUMABLE = ("sweep", "train", "data")
WHAT_TO_DO = {
    errno.ENOSPC: "Free space on that disk, or choose a folder on another one",
    errno.EDQUOT: "Free space in your quota, or choose another folder",
    errno.EACCES: "Change its permissions, or choose another path",
    errno.EROFS: "Choose a folder on a disk that can be written",
}


def main(arguments: Sequence[str]) -> int:
    """Run one command.

    Returns 0 for success, 1 if a trial or a check failed, 2 for an error that the user can fix, 130 after Ctrl-C.
    """
    try:
        return run(parse(arguments))
    except (UserError, RecordsError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(describe_os_error(error))
    except (MemoryError, RuntimeError) as error:
        # Imports torch. A RuntimeError comes from torch, so torch is loaded already.
        from pipeline.hardware.memory import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        return _fail(f"Out of memory ({first_line(error)}). Lower data.size, train.batch_size or metric.batch_size.")
    except KeyboardInterrupt:
        resume = " Run the same command to resume." if arguments[0] in RESUMABLE else ""
        print(f"Interrupted.{resume}", file=sys.stderr)
        return 130


def script() -> NoReturn:
    """Run the command in sys.argv and end the process."""
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # A normal exit destroys the objects of torch, MLflow and Ray one by one, which takes one to two seconds.
    os._exit(code)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the command and its arguments. Raises UserError if one is missing, unknown or not of its type."""
    parser, names = build_parser()
    if arguments and not arguments[0].startswith("-") and arguments[0] not in names:
        raise UserError(f"no command is called {arguments[0]!r}; {nearest(arguments[0], names)}")
    given, rest = parser.parse_known_args(arguments)
    # argparse takes the overrides before the first option. It returns those behind an option as unknown arguments.
    unknown = [text for text in rest if text.startswith("-") or "overrides" not in given]
    if unknown:
        parser.prog = " ".join([parser.prog, given.command, *([given.part] if "part" in given else [])])
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if "overrides" in given:
        given.overrides = [*given.overrides, *rest]
    return given


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as those of all other input are."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message}. See {self.prog} --help.")


def build_parser() -> tuple[_Parser, Sequence[str]]:
    """Return the parser of all commands, and the names of the commands."""
    program = "cut-ablation" if Path(sys.argv[0]).stem == "cut-ablation" else "just"
    parser = _Parser(prog=program, description="Train, compare and use CUT, FastCUT and CycleGAN.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, usage: str, does: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, usage=f"{program} {name} {usage}", help=does, description=does)

    does = "Train the trials of a sweep that are not done. Then write its tables, figures and report."
    sweep = command("sweep", "NAME [override ...] [--quiet]", does)
    sweep.add_argument("name", metavar="NAME", help=SWEEP)
    sweep.add_argument("--quiet", action="store_true", help="print only warnings and the path of the report")
    _add_overrides(sweep, "; retry=failed also trains failed trials")

    does = "Show every trial of a sweep, its state, predicted memory and time. Train nothing."
    plan = command("plan", "NAME [override ...] [--json]", does)
    plan.add_argument("name", metavar="NAME", help=SWEEP)
    _add_json(plan)
    _add_overrides(plan)

    does = "Show which trials of a sweep are done, running or failed, and why. Read only the records."
    status = command("status", "NAME [override ...] [--json]", does)
    status.add_argument("name", metavar="NAME", help="name of a recorded sweep")
    _add_json(status)
    _add_overrides(status)

    does = "Delete the MLflow runs and checkpoints of one row of a sweep. Ask first."
    drop = command("drop", "NAME ROW [override ...] [--yes]", does)
    drop.add_argument("name", metavar="NAME", help=SWEEP)
    drop.add_argument("row", metavar="ROW", help="name of the row")
    drop.add_argument("--yes", action="store_true", help="do not ask")
    _add_overrides(drop)

    does = "Write a sweep file with the best rows of a search, to train them with three seeds."
    promote = command("promote", "NAME [override ...] [--count N] [--to NAME]", does)
    promote.add_argument("name", metavar="NAME", help=SWEEP)
    promote.add_argument("--count", metavar="N", type=_positive_int, default=3, help="how many rows (3)")
    promote.add_argument("--to", metavar="NAME", help="name of the new sweep (NAME_best)")
    _add_overrides(promote)

    does = "Write the tables, figures and report of a sweep from MLflow. Train nothing."
    tables = command("tables", "NAME [--task TASK] [--results FOLDER] [--price-per-hour PRICE]", does)
    tables.add_argument("sweep", metavar="NAME", help="name of a recorded sweep")
    tables.add_argument("--task", help="only this task (all tasks with records of the sweep)")
    tables.add_argument("--results", metavar="FOLDER", type=Path, default="results", help="where to write (results)")
    price = "price of an hour of the GPU or machine (as recorded)"
    tables.add_argument("--price-per-hour", metavar="PRICE", type=_positive_number, help=price)

    does = "Compare two sweeps, two tasks, or two result versions of one sweep."
    compare = command("compare", "NAME[/TASK][@VERSION] OTHER [--other-store URI]", does)
    compare.add_argument("one", metavar="NAME[/TASK][@VERSION]", help="a recorded sweep, its task and result version")
    compare.add_argument("other", metavar="OTHER", help="the same for the second one")
    compare.add_argument("--other-store", metavar="URI", help="MLflow store of the second one (that of the first)")

    does = "Download a data set, or make it from your copy, and count its images."
    data = command("data", "NAME [--from FOLDER] [--url URL] [--to FOLDER]", does)
    data.add_argument("name", metavar="NAME", help="horse2zebra, grumpifycat, cat2dog or cityscapes")
    data.add_argument("--from", dest="source", metavar="FOLDER", type=Path, help="your copy of cat2dog or cityscapes")
    data.add_argument("--url", help="another address of the archive")
    data.add_argument("--to", metavar="FOLDER", type=Path, default="datasets", help="where to write (datasets)")

    does = "Train one trial in this process, without Ray."
    _add_overrides(command("train", "[override ...]", does), "; seed=1 sets the seed (0)")

    does = "Compute FID and KID of a trial, a checkpoint, or a folder of images, and record them."
    evaluate = command("evaluate", "WHAT [override ...] [compare=pytorch-fid|clean-fid] [resize=yes]", does)
    what = f"{RUN} (also one of the reference code), or a folder of images"
    evaluate.add_argument("what", metavar="WHAT", help=what)
    also = "; compare=… adds the FID of another package; resize=yes resizes the images of a folder to the task's size"
    _add_overrides(evaluate, also)

    does = "Translate an image, or a folder of images, with a trained generator."
    translate = command("translate", "RUN INPUT OUTPUT [override ...]", does)
    translate.add_argument("run", metavar="RUN", help=f"{RUN} (also one of the reference code)")
    translate.add_argument("input", metavar="INPUT", type=Path, help="an image, or a folder of images")
    translate.add_argument("output", metavar="OUTPUT", type=Path, help="a folder, or the name of a PNG file")
    _add_overrides(translate)

    does = "Write the networks of a trial as files of the reference code (latest_net_G.pth and so on)."
    export = command("export", "RUN FOLDER [override ...]", does)
    export.add_argument("run", metavar="RUN", help=RUN)
    export.add_argument("folder", metavar="FOLDER", type=Path, help="where to write")
    _add_overrides(export)

    does = "Check this machine before a sweep: GPUs, folders, locks, disk, MLflow store, weights, Ray. Train nothing."
    doctor = command("doctor", "[override ...] [--json]", does)
    _add_json(doctor)
    _add_overrides(doctor)

    bench = command("bench", "PART [argument ...] [--json]", "Measure what a part of the work costs on this machine.")
    _add_benchmarks(bench)

    command("docs", "", "Write the generated tables of README.md and docs/performance.md from docs/results/.")
    return parser, list(commands.choices)


def _add_benchmarks(bench: argparse.ArgumentParser) -> None:
    parts = bench.add_subparsers(prog=bench.prog, dest="part", metavar="PART", required=True)

    def part(name: str, usage: str, does: str) -> argparse.ArgumentParser:
        added = parts.add_parser(name, usage=f"{bench.prog} {name} {usage} [--json]", help=does, description=does)
        _add_json(added)
        return added

    step = part("step", "[override ...] [--repeats N] [--ways NAME,NAME] [--compile]", "A training step, in each way.")
    step.add_argument("--ways", metavar="NAME,NAME", type=lambda text: text.split(","), default=[], help="only these")
    step.add_argument("--compile", action="store_true", help="on CUDA also ways with torch.compile, minutes each")
    pack = part("pack", "[override ...] [--repeats N]", "Several trials at once on one device.")
    fid = part("fid", "[--repeats N] [--images N]", "An evaluation with Inception.")
    fid.add_argument("--images", metavar="N", type=_positive_int, help="images of each domain (those of horse2zebra)")
    for repeated in (step, pack, fid):
        repeated.add_argument("--repeats", metavar="N", type=_positive_int, default=3, help="repeats (3)")
    for trained in (step, pack):
        _add_overrides(trained)
    part("data", "", "Reading images and making batches.")
    for name, does, trials in (
        ("sweep", "Running trials that do nothing.", 300),
        ("tables", "Writing tables.", 10_000),
    ):
        many = part(name, "[--trials N]", does)
        many.add_argument("--trials", metavar="N", type=_positive_int, default=trials, help=f"trials ({trials})")


def _add_overrides(parser: argparse.ArgumentParser, also: str = "") -> None:
    settings = f"settings: task=horse2zebra model.temperature=0.1 seeds=[0,1] …{also}"
    parser.add_argument("overrides", metavar="override", nargs="*", default=[], help=settings)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def _positive_int(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _positive_number(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a finite number above 0")


def run(given: argparse.Namespace) -> int:
    """Run a parsed command and return its exit code."""
    # Each command imports its own modules: torch, torch-fidelity and MLflow take seconds.
    match given.command:
        case "sweep":
            from pipeline.cli.sweep import sweep

            return sweep(given.name, given.overrides, quiet=given.quiet)
        case "plan":
            from pipeline.cli.plan import plan

            return plan(given.name, given.overrides, as_json=given.json)
        case "status":
            from pipeline.cli.status import status

            return status(given.name, given.overrides, as_json=given.json)
        case "drop":
            from pipeline.cli.drop import drop

            return drop(given.name, given.row, given.overrides, yes=given.yes)
        case "promote":
            from pipeline.cli.promote import promote

            return promote(given.name, given.overrides, count=given.count, target=given.to)
        case "tables":
            from analysis.cli.tables import tables

            return tables(given.sweep, given.task, given.results, given.price_per_hour)
        case "compare":
            from analysis.cli.compare import compare

            return compare(given.one, given.other, given.other_store)
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

            return export(given.run, given.folder, given.overrides)
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


def _fail(message: str) -> int:
    """Print a message as one line, even if a file name in it has line breaks. Return the exit code 2."""
    print(f"error: {' '.join(message.splitlines())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    script()
