"""just stop: ask the running trials of one row of a sweep to save and to end, and skip those that wait."""

import shlex
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.records.names import Tag, row_tag, sweep_name
from analysis.store.overview import recorded_tasks
from analysis.store.reader import RecordedTrials, read_trials
from pipeline.cli.status import ended
from pipeline.config.compose import COMMAND_LINE, compose_surroundings, only_parts, take_options, tracking_uri
from pipeline.config.places import stored_trial, trials_folder
from pipeline.config.schema import PathsConfig
from pipeline.config.sweep_file import chosen_seeds
from pipeline.errors import UserError, brief, nearest
from pipeline.tracking.lease import is_leased, uses_leases
from pipeline.tracking.store import Tracker, store_lock
from pipeline.trial.lock import is_claimed
from pipeline.trial.stop_request import request_stop, withdraw_stop

STORE_PARTS = ("paths", "tracking")
# A trial looks for the request after each step. A step or an evaluation may take long.
POLL_SECONDS, MOST_SECONDS = 1.0, 60.0

# Of a trial: see `RecordedTrials.lines`.
Line = Mapping[str, Any]


def stop(name: str, row: str, overrides: Sequence[str]) -> int:
    """Ask the trials of a row to end if the sweep runs; then wait for those that run, but not for long.

    The trials are those of the sweep's last run, from the records alone: a running sweep has recorded them.
    """
    seeds, rest = chosen_seeds(overrides)
    values, rest = take_options(rest, ["task", "data.name"])
    _refuse_settings(rest)
    config = compose_surroundings(only_parts(rest, STORE_PARTS))
    uri, trials, sweep = tracking_uri(config), trials_folder(config.paths), sweep_name(name)
    task = _task(sweep, recorded_tasks(uri, sweep), values.get("data.name", values.get("task")))
    recorded = read_trials(uri, sweep, task)
    chosen = _chosen(recorded.lines, row, seeds, sweep)
    running = {line["key"] for line in recorded.lines if _may_run(line) and _runs(line["key"], recorded, trials)}
    if not running:
        print(f"No trial of {sweep} runs in {config.paths.trials}/. Nothing to stop.")
        return 0
    asked = [line for line in chosen if line["key"] in running or line["status"] not in ("FINISHED", "FAILED")]
    for line in asked:
        request_stop(trials / line["key"], stored_trial(config.paths, line["key"]))
    if uses_leases(uri):
        tracker = Tracker(uri, task, "", store_lock(uri, trials))
        for line in asked:
            # A trial that has not started has no run yet. The sweep takes the one that is created here.
            tags = {row_tag(sweep): line["row"], Tag.STOP_REQUESTED: "yes"}
            tracker.begin_trial(line["key"], _named(line), tags, {}, {})
    for line in chosen:
        state = "asked to save and to end" if line["key"] in running else _state(line)
        print(f"{_named(line)}: {state}", flush=True)
    left = [line for line in asked if line["key"] in running]
    for line in _as_they_end(left, lambda key: _runs(key, read_trials(uri, sweep, task), trials)):
        left.remove(line)
        print(f"{_named(line)}: {_ended(line['key'], read_trials(uri, sweep, task), config.paths)}", flush=True)
    for line in left:
        print(f"{_named(line)}: still runs; ends after its current step or evaluation")
    if asked:
        again = ["just", "sweep", recorded.manifest.file or sweep, *recorded.manifest.command]
        print(f"To train on later: {shlex.join(again)}")
    return 0


def _refuse_settings(overrides: Sequence[str]) -> None:
    allowed = only_parts(overrides, ("data", *STORE_PARTS))
    for text in overrides:
        if text not in allowed:
            raise UserError(
                f"{COMMAND_LINE}: {brief(text)}. The trials are those of the sweep's last run. Only seeds, task, "
                "data.name, paths.… and tracking.… can be set"
            )


def _task(sweep: str, recorded: Sequence[str], chosen: str | None) -> str:
    """Return the task that is chosen, or the only one."""
    if chosen is None and len(recorded) == 1:
        return recorded[0]
    if chosen is None or chosen not in recorded:
        raise UserError(f"{sweep}: recorded for {', '.join(recorded)}. Choose one with task=… or data.name=…")
    return chosen


def _chosen(lines: Sequence[Line], row: str, seeds: Collection[int] | None, sweep: str) -> list[Line]:
    """Return the trials of a row with these seeds, or with all. Raises UserError for an unknown row or seed."""
    of_row = [line for line in lines if line["row"] == row]
    if not of_row:
        raise UserError(f"{sweep}: no row is called {row!r}; {nearest(row, {line['row'] for line in lines})}")
    known = [line["seed"] for line in of_row]
    for seed in seeds or ():
        if seed not in known:
            raise UserError(f"{sweep}, row {row!r}: no trial has seed {seed}. Its seeds: {', '.join(map(str, known))}")
    return [line for line in of_row if seeds is None or line["seed"] in seeds]


def _runs(key: str, recorded: RecordedTrials, trials: Path) -> bool:
    """Return whether a process trains a trial now, here or on another machine."""
    return is_claimed(trials / key) or (key in recorded.runs and is_leased(recorded.runs[key].tags))


def _may_run(line: Line) -> bool:
    return line["status"] not in ("FINISHED", "MISSING")


def _named(line: Line) -> str:
    return f"{line['row']}, seed {line['seed']}"


def _state(line: Line) -> str:
    """Return what becomes of a trial that does not run."""
    match line["status"]:
        case "KILLED":  # by a search, which this sweep may go on with
            return f"{ended(line)}; will be skipped"
        case _:
            return ended(line) or "will be skipped"


def _as_they_end(lines: Sequence[Line], runs: Callable[[str], bool]) -> Iterator[Line]:
    """Yield each trial when its process has ended. Give up after a minute."""
    left, deadline = list(lines), time.monotonic() + MOST_SECONDS
    while left and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        for line in [line for line in left if not runs(line["key"])]:
            left.remove(line)
            yield line


def _ended(key: str, recorded: RecordedTrials, paths: PathsConfig) -> str:
    """Return how a trial that was asked to end has ended."""
    line = next((line for line in recorded.lines if line["key"] == key), {"status": "MISSING"})
    if line["status"] not in ("RUNNING", "SCHEDULED"):
        withdraw_stop(trials_folder(paths) / key, stored_trial(paths, key))
        return "dropped" if line["status"] == "MISSING" else _state(line)
    steps = recorded.runs[key].tags.get(Tag.STEPS)
    return f"saved at step {line['step']}{f' of {steps}' if steps else ''}"
