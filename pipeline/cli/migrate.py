"""just migrate: copy a store into another one, and compare the tables of both."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.records.address import without_password
from analysis.records.printable import printable
from analysis.store.database import absolute_store, is_missing
from analysis.store.frames import scores_frame, trials_frame
from analysis.store.overview import recorded_sweeps
from pipeline.config.schema import PathsConfig
from pipeline.errors import UserError
from pipeline.tracking.migration import copy_store
from pipeline.trial.waiting_records import send_waiting_records

KINDS = ("sqlite:///", "http://", "https://")
# A run has another id in another store.
NOT_COMPARED = ("run_id",)


def migrate(source: str, target: str) -> int:
    """Copy all records and files. Print a line for each sweep; return 1 if one of their tables differs, else 0."""
    source, target = _store("FROM", source), _store("TO", target)
    if is_missing(source):
        raise UserError(f"{source}: no such database. FROM is the store to be copied")
    send_waiting_records(PathsConfig(), source)
    for copied in copy_store(source, target, Path(PathsConfig().trials)):
        had = f" {copied.before} had been copied before." if copied.before else ""
        print(f"{printable(copied.experiment)}: {copied.new} runs copied.{had}", flush=True)
    return compare_stores(source, target)


def compare_stores(source: str, target: str) -> int:
    """Print for each sweep of the source whether the target has the same table. Return 1 if one differs, else 0."""
    differing = 0
    sweeps = recorded_sweeps(source)
    there = set(recorded_sweeps(target))
    for sweep, task in sweeps:
        title = printable(f"{sweep} on {task}")
        if (sweep, task) not in there:
            print(f"{title}: DIFFERS: not in {without_password(target)}")
            differing += 1
            continue
        trials = [trials_frame(store, sweep, task) for store in (source, target)]
        scores = [scores_frame(store, sweep, task) for store in (source, target)]
        columns = [*_differing_columns(trials), *_differing_columns(scores)]
        differing += bool(columns)
        found = f"DIFFERS in {', '.join(columns)}" if columns else "equal in both stores"
        print(f"{title}: {len(trials[0])} trials, {len(scores[0])} evaluations, {found}")
    if differing:
        print("A sweep that was run on both stores has two records. Its newest one is shown by each store.")
    elif not sweeps:
        print(f"{without_password(source)} has no sweeps.")
    return 1 if differing else 0


def _differing_columns(frames: Sequence[pd.DataFrame]) -> list[str]:
    """Return the columns in which two frames differ, in value, order or type; 'number of lines' if that differs."""
    one, other = frames
    if len(one) != len(other):
        return ["number of lines"]
    names = [name for name in dict.fromkeys([*one.columns, *other.columns]) if name not in NOT_COMPARED]
    return [name for name in names if name not in one or name not in other or not one[name].equals(other[name])]


def _store(argument: str, given: str) -> str:
    """Return a store's address with an absolute path."""
    shown = without_password(given)
    if not given.startswith(KINDS):
        raise UserError(
            f"{argument} is {shown}: write sqlite:///mlflow.db, or the address of a server: http://HOST:5000"
        )
    if shown != given:
        raise UserError(
            f"{argument} is {shown}: it holds a login, and all users of this machine see its command lines. Set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead."
        )
    return absolute_store(given.rstrip("/") if given.startswith("http") else given)
