"""The arguments of all commands: one table for `just COMMAND`, `cut-ablation COMMAND` and `python -m pipeline COMMAND`.

A new command is a line in COMMANDS, its arguments in `build_parser`, and a call in `pipeline.__main__.run`.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from analysis.records.address import NOTIFY_ADDRESS, split_password
from pipeline.errors import UserError, brief, nearest

RUN = "key of a trial, id of its MLflow run, or path of a checkpoint"
SWEEP = "name of a file in sweeps/ without .yaml, or path of a sweep file"
# Each command and what it does.
COMMANDS = {
    "sweep": "Train the trials that are not done. Write tables, figures and report.",
    "submit": "Let a Ray cluster run a sweep as a job, so that this machine may sleep.",
    "plan": "Show every trial, its state, memory and time. Train nothing.",
    "status": "Show which recorded trials are done, running or failed, and why.",
    "stop": "Let the running trials of one row of a sweep save and end. Skip those that wait.",
    "drop": "Delete the MLflow runs and checkpoints of one row. Ask first.",
    "clean": "Show what takes disk space, and remove what is named. Ask first.",
    "promote": "Write a sweep file with the best samples of a search.",
    "tables": "Write the report from MLflow.",
    "compare": "Compare two sweeps, tasks or result versions.",
    "ui": "Serve MLflow's UI, and show the address of each sweep's view.",
    "server": "Serve records and files of sweeps to this or other machines.",
    "migrate": "Copy all records and files of a store into another one.",
    "data": "Download a data set, or make it from your copy.",
    "train": "Train one trial in this process, without Ray.",
    "evaluate": "Compute and record FID and KID.",
    "translate": "Translate an image or a folder of images.",
    "export": "Write networks as files of the reference code, or the generator as ONNX.",
    "doctor": "Check GPUs, folders, locks, disk, MLflow store, weights and Ray.",
    "bench": "Measure what a part of the work costs on this machine.",
    "docs": "Write the generated tables of the documents from docs/results/.",
}
TRACKING, NOTIFY = "tracking.uri=", "notify="
HIDDEN = f"{NOTIFY}hidden"
WITHOUT_OVERRIDES = ("clean", "tables", "compare", "ui", "server", "migrate", "data", "bench", "docs")
# Of a number in an option, whatever it counts.
MOST = 1_000_000
# What the overrides of a command can say besides settings.
ALSO = {
    "sweep": "; retry=failed also trains failed trials; notify=ADDRESS tells of failures and the end",
    "submit": "; retry=failed and notify=ADDRESS as with just sweep",
    "plan": "; retry=failed also plans failed trials; notify=ADDRESS is only checked",
    "train": "; seed=1 sets the seed (0)",
    "evaluate": "; compare=pytorch-fid or clean-fid adds its FID; resize=yes resizes the images of a folder",
}


def hide_password(arguments: Sequence[str]) -> tuple[list[str], Mapping[str, str]]:
    """Take the password of the MLflow store, and the address of notify=, out of the arguments and MLFLOW_TRACKING_URI.

    Returns the arguments without them, and the variables from which this process and its children get them. What does
    not know a password cannot write it into a record or a message.
    """
    hidden, shown, password, told = list(arguments), "", {}, {}
    for number, text in enumerate(arguments):
        if text.startswith(TRACKING):
            address = text.removeprefix(TRACKING).strip("'\"")
            shown, password = split_password(address)
            hidden[number] = text.replace(address, shown)
        elif text.startswith(NOTIFY):
            # A job of just submit has the address in its environment alone.
            if text != HIDDEN or NOTIFY_ADDRESS not in os.environ:
                told = {NOTIFY_ADDRESS: text.removeprefix(NOTIFY).strip("'\"")}
            hidden[number] = HIDDEN
    address, of_variable = split_password(os.environ.get("MLFLOW_TRACKING_URI", ""))
    # The password of one store is not for another.
    password = password or (of_variable if shown in ("", address) else {})
    return hidden, {**({"MLFLOW_TRACKING_URI": address} if of_variable else {}), **password, **told}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the command and its arguments. Raises UserError if one is missing, unknown or not of its type."""
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        raise UserError(f"no command is called {arguments[0]!r}; {nearest(arguments[0], COMMANDS)}")
    parser = build_parser()
    if len(arguments) == 2 and arguments[0] == "ui" and arguments[1].isdecimal():
        arguments = ["ui", "--port", arguments[1]]
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


def build_parser() -> _Parser:
    """Return the parser of all commands. The help of an installed package says cut-ablation instead of just."""
    program = "cut-ablation" if Path(sys.argv[0]).stem == "cut-ablation" else "just"
    parser = _Parser(prog=program, description="Train, compare and use CUT, FastCUT and CycleGAN.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    added = {name: commands.add_parser(name, help=does, description=does) for name, does in COMMANDS.items()}
    for name in ("sweep", "plan", "drop", "promote"):
        added[name].add_argument("name", metavar="NAME", help=SWEEP)
    for name in ("status", "stop", "tables"):
        added[name].add_argument("name", metavar="NAME", help="a recorded sweep: its name, or its file")
    for name in ("plan", "status", "clean", "doctor"):
        _add_json(added[name])

    added["sweep"].add_argument("--quiet", action="store_true", help="print only warnings and the path of the report")

    added["submit"].add_argument("name", metavar="NAME", nargs="?", help=SWEEP)
    for option, does in (
        ("status", "say what the job with this id does"),
        ("logs", "show what it prints, until it ends"),
        ("stop", "let its trials save, and end it"),
    ):
        added["submit"].add_argument(f"--{option}", metavar="ID", help=does)

    added["plan"].add_argument("--verbose", action="store_true", help="also show the memory of the reference's step")

    watch = "print again every few seconds, until no trial runs"
    added["status"].add_argument("--watch", action="store_true", help=watch)

    for name in ("stop", "drop"):
        added[name].add_argument("row", metavar="ROW", help="name of the row")
    added["drop"].add_argument("--yes", action="store_true", help="do not ask")

    named = "what to remove, as the table of just clean names it; settings: paths.trials=/disk/trials …"
    added["clean"].add_argument("overrides", metavar="WHAT", nargs="*", default=[], help=named)
    added["clean"].add_argument("--yes", action="store_true", help="do not ask")

    added["promote"].add_argument("--count", metavar="N", type=_positive_int, default=3, help="how many samples (3)")
    to = "name of the new sweep, written beside the file of the search (NAME_best)"
    added["promote"].add_argument("--to", metavar="NAME", help=to)

    tables = added["tables"]
    tables.add_argument("--task", help="only this task (all tasks with records of the sweep)")
    tables.add_argument("--results", metavar="FOLDER", type=_path, default="results", help="where to write (results)")
    waiting = "folder or address of trials, for records that MLflow has missed (trials)"
    tables.add_argument("--trials", metavar="FOLDER", default="trials", help=waiting)
    price = "price of an hour of the GPU or machine (as recorded)"
    tables.add_argument("--price-per-hour", metavar="PRICE", type=_positive_number, help=price)
    more = "further columns of table.tex, such as kid,seconds_per_iteration (settings and main score)"
    tables.add_argument("--columns", metavar="NAME,NAME", type=_names, default=[], help=more)

    compare = added["compare"]
    compare.add_argument("one", metavar="NAME[/TASK][@VERSION]", help="a recorded sweep, its task and version")
    compare.add_argument("other", metavar="OTHER", help="the same for the second one")
    compare.add_argument("--other-store", metavar="URI", help="MLflow store of the second one (that of the first)")

    served = added["ui"]
    served.add_argument(
        "name", metavar="NAME", nargs="?", help="open the view of this recorded sweep: its name, or file"
    )
    served.add_argument("--port", metavar="PORT", type=_port, default=5000, help="port on 127.0.0.1 (5000)")

    server = added["server"]
    server.add_argument("--host", metavar="HOST", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    server.add_argument("--port", metavar="PORT", type=_port, default=5000, help="port (5000)")
    records = "sqlite:///FILE or postgresql://USER@HOST/DATABASE (sqlite:///server/mlflow.db)"
    server.add_argument("--store", metavar="URI", help=records)
    server.add_argument("--artifacts", metavar="PLACE", help="a folder, or an address: s3://… (server/artifacts)")
    names = "the names by which other machines call it"
    server.add_argument("--allowed-hosts", metavar="NAME,NAME", type=_names, default=[], help=names)
    server.add_argument("--auth", action="store_true", help="ask for user and password")

    migrate = added["migrate"]
    migrate.add_argument("source", metavar="FROM", help="a store: sqlite:///mlflow.db, or a server")
    migrate.add_argument("target", metavar="TO", help="a server: http://127.0.0.1:5000; or a sqlite file")

    data = added["data"]
    data.add_argument("name", metavar="NAME", help="a data set of docs/data.md, such as horse2zebra")
    data.add_argument("--from", dest="source", metavar="FOLDER", type=_path, help="your copy of cat2dog or cityscapes")
    data.add_argument("--url", help="another address of the archive")
    data.add_argument("--to", metavar="FOLDER", type=_path, default="datasets", help="where to write (datasets)")

    what = f"{RUN} (also one of the reference code), or a folder of images"
    added["evaluate"].add_argument("what", metavar="WHAT", help=what)

    translate = added["translate"]
    translate.add_argument("run", metavar="RUN", help=f"{RUN} (also one of the reference code)")
    translate.add_argument("input", metavar="INPUT", type=_path, help="an image, or a folder of images")
    translate.add_argument("output", metavar="OUTPUT", type=_path, help="a folder, or the name of a PNG file")

    export = added["export"]
    export.add_argument("run", metavar="RUN", help=f"{RUN} (with an option also one of the reference code)")
    export.add_argument("folder", metavar="FOLDER", type=_path, help="where to write")
    export.add_argument("--onnx", action="store_true", help="write the generator from A to B as generator.onnx")
    export.add_argument("--torch-export", action="store_true", help="write it as generator.pt2, for torch.export.load")

    _add_benchmarks(added["bench"])
    # Last, since argparse takes positional arguments in the order in which they were added.
    for name in COMMANDS:
        if name not in WITHOUT_OVERRIDES:
            _add_overrides(added[name], ALSO.get(name, ""))
    return parser


def _add_benchmarks(bench: argparse.ArgumentParser) -> None:
    parts = bench.add_subparsers(dest="part", metavar="PART", required=True)

    def part(name: str, does: str) -> argparse.ArgumentParser:
        added = parts.add_parser(name, help=does, description=does)
        _add_json(added)
        return added

    step = part("step", "A training step, in each way.")
    step.add_argument("--ways", metavar="NAME,NAME", type=_names, default=[], help="only these")
    step.add_argument("--compile", action="store_true", help="on CUDA also ways with torch.compile, minutes each")
    step.add_argument("--choices", action="store_true", help="CUT with each choice of negatives, weights and queries")
    pack = part("pack", "Several trials at once on one device.")
    fid = part("fid", "An evaluation with Inception.")
    fid.add_argument("--images", metavar="N", type=_positive_int, help="images of each domain (those of horse2zebra)")
    start = part("start", "Commands: the time to their first line and to their end.")
    for repeated in (step, pack, fid, start):
        repeated.add_argument("--repeats", metavar="N", type=_positive_int, default=3, help="repeats (3)")
    for trained in (step, pack):
        _add_overrides(trained)
    part("data", "Reading images and making batches.")
    idle, tables = part("sweep", "Running trials that do nothing."), part("tables", "Writing tables.")
    scale = part("scale", "Simulating sweeps on up to a thousand GPUs, from what is measured here.")
    scale.add_argument("--store", metavar="ADDRESS", help="the store to measure (a SQLite file of its own)")
    for many, trials in ((idle, 300), (tables, 10_000), (scale, 100)):
        many.add_argument("--trials", metavar="N", type=_positive_int, default=trials, help=f"trials ({trials})")


def _add_overrides(parser: argparse.ArgumentParser, also: str = "") -> None:
    settings = f"settings: task=horse2zebra model.temperature=0.1 seeds=[0,1] …{also}"
    parser.add_argument("overrides", metavar="override", nargs="*", default=[], help=settings)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def _positive_int(text: str) -> int:
    # Python reads no number of more than 4300 digits.
    if len(text) <= len(str(MOST)) and text.isdecimal() and 1 <= int(text) <= MOST:
        return int(text)
    raise argparse.ArgumentTypeError(f"{brief(text)} is not a whole number above 0 and at most {MOST}")


def _names(text: str) -> list[str]:
    return text.split(",")


def _port(text: str) -> int:
    if text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{brief(text)} is not a port, from 1 to 65535")


def _positive_number(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) <= MOST:
            return float(text)
    raise argparse.ArgumentTypeError(f"{brief(text)} is not a finite number above 0 and at most {MOST}")


def _path(text: str) -> Path:
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{brief(text)} is an address. Write a local path")
    return Path(text)
