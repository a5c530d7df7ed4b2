"""just status: what became of a sweep's trials, and how far they are, from the records alone."""

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from analysis.records.console import wide_console
from analysis.records.names import MAIN_SCORES, Tag, eval_metric, metric_of, sweep_name
from analysis.store.overview import recorded_tasks
from analysis.store.reader import RecordedTrials, read_paces, read_trials
from analysis.store.stored_runs import StoredRun
from pipeline.config.compose import compose_surroundings, tracking_uri
from pipeline.config.places import stored_trials, trials_folder
from pipeline.config.schema import PathsConfig
from pipeline.orchestration.live_table import clock
from pipeline.tracking.lease import is_leased
from pipeline.trial.lock import is_claimed
from pipeline.trial.stop_request import stop_requested, stops_at

# Of --watch: on a terminal, and in a file or a pipe.
SECONDS_BETWEEN_LOOKS, SECONDS_BETWEEN_TABLES = 2.0, 30.0


@dataclass(frozen=True)
class TrialStatus:
    """A trial and how far it is.

    steps: of the whole training; None for records without it. score: the last one, and its name. silent_seconds: since
    a running trial has logged its last step. seconds_left: None if the trial does not run, or its pace is not known.
    node: of a cluster, on which the trial runs or has run last; '' elsewhere. losses: how often it was lost.
    """

    task: str
    row: str
    seed: int
    key: str
    state: str
    step: int
    steps: int | None
    score: float | None
    score_name: str
    silent_seconds: float | None
    seconds_left: float | None
    node: str = ""
    losses: int = 0


def status(name: str, overrides: list[str], *, as_json: bool, watch: bool = False) -> int:
    """Print which trials are done, running, interrupted or failed, and why, from the records alone.

    watch: print again and again, until no trial runs.
    """
    name = sweep_name(name)
    config = compose_surroundings(overrides)
    uri, paths = tracking_uri(config), config.paths
    lines = _look(uri, name, paths)
    if as_json:
        print(json.dumps([asdict(line) for line in lines], indent=2))
        return 0
    console = wide_console()
    if not watch:
        console.print(_table(name, lines), _counts(lines), sep="\n", highlight=False)
        return 0
    if console.is_terminal:
        with Live(_table(name, lines), console=console, auto_refresh=False) as live:
            while _any_runs(lines):
                time.sleep(SECONDS_BETWEEN_LOOKS)
                lines = _look(uri, name, paths)
                live.update(_table(name, lines), refresh=True)
        console.print(_counts(lines), highlight=False)
        return 0
    while True:
        console.print(_table(name, lines), _counts(lines), sep="\n", highlight=False)
        if not _any_runs(lines):
            return 0
        time.sleep(SECONDS_BETWEEN_TABLES)
        lines = _look(uri, name, paths)


def _look(uri: str, name: str, paths: PathsConfig) -> list[TrialStatus]:
    found: list[TrialStatus] = []
    trials, stops = trials_folder(paths), stops_at(stored_trials(paths))
    for task in recorded_tasks(uri, name):
        recorded = read_trials(uri, name, task)
        running = [line["run_id"] for line in recorded.lines if _runs(line, recorded, trials, uri)]
        paces = read_paces(uri, running)
        for line in recorded.lines:
            run, folder = recorded.runs.get(line["key"]), trials / line["key"]
            stopped = line["key"] in stops or stop_requested(folder, "", run.tags if run else {})
            pace = paces.get(line["run_id"])
            found.append(_status(task, line, run, pace, running=line["run_id"] in running, stopped=stopped))
    return found


def _runs(line: Mapping[str, Any], recorded: RecordedTrials, trials: Path, uri: str) -> bool:
    """Return whether a process trains a trial now."""
    if line["status"] in ("FINISHED", "MISSING"):
        return False
    return is_claimed(trials / line["key"], uri) or is_leased(recorded.runs[line["key"]].tags)


def _status(
    task: str,
    line: Mapping[str, Any],
    run: StoredRun | None,
    pace: tuple[float, float] | None,
    *,
    running: bool,
    stopped: bool,
) -> TrialStatus:
    metrics, tags = (run.metrics, run.tags) if run else ({}, {})
    score = next((name for name in MAIN_SCORES if eval_metric(name) in metrics), "")
    steps = int(tags[Tag.STEPS]) if Tag.STEPS in tags else None
    left = pace[0] * (steps - line["step"]) if pace and steps else None
    return TrialStatus(
        *(task, line["row"], line["seed"], line["key"]),
        state="running" if running else _state(line, stop_requested=stopped),
        step=line["step"],
        steps=steps,
        score=metrics.get(eval_metric(score)),
        score_name=score,
        silent_seconds=time.time() - pace[1] if pace else None,
        seconds_left=left,
        node=tags.get(Tag.NODE, ""),
        losses=int(tags.get(Tag.LOSSES, 0)),
    )


def ended(line: Mapping[str, Any]) -> str | None:
    """Return how a trial has ended, in words; None if it has not. line: of `RecordedTrials.lines`."""
    match line["status"]:
        case "FINISHED":
            return "done"
        case "FAILED":
            return f"failed: {line['error']}"
        case "KILLED":
            return f"stopped {line['stopped']}"
        case _:
            return None


def _state(line: Mapping[str, Any], *, stop_requested: bool) -> str:
    match line["status"]:
        case "RUNNING" | "SCHEDULED" if stop_requested:
            return f"stopped by request at step {line['step']}"
        case "RUNNING":
            return f"interrupted at step {line['step']}"
        case _:
            return ended(line) or "waiting"


def _any_runs(lines: list[TrialStatus]) -> bool:
    return any(line.state == "running" for line in lines)


def _table(name: str, lines: list[TrialStatus]) -> Table:
    tasks = dict.fromkeys(line.task for line in lines)
    nodes = any(line.node for line in lines)
    scores = dict.fromkeys(line.score_name for line in lines if line.score_name)
    label = metric_of(eval_metric(next(iter(scores)))).label if len(scores) == 1 else "score"
    title = f"{name} on {next(iter(tasks))}" if len(tasks) == 1 else name
    table = Table(
        *([] if len(tasks) == 1 else ["task"]),
        "row",
        Column("seed", justify="right"),
        Column("key", no_wrap=True),
        "state",
        *(["node"] if nodes else []),
        *(Column(header, justify="right") for header in ("step", label, "last step", "left")),
        title=Text(title),
        title_justify="left",
    )
    for line in lines:
        table.add_row(
            *([] if len(tasks) == 1 else [Text(line.task)]),
            Text(line.row),
            str(line.seed),
            line.key[:8],
            Text(f"{line.state}{f' (lost {line.losses} times)' if line.losses else ''}"),
            *([line.node] if nodes else []),
            f"{line.step}/{line.steps}" if line.steps else str(line.step or ""),
            "" if line.score is None else f"{line.score:.2f}",
            "" if line.silent_seconds is None else f"{clock(line.silent_seconds)} ago",
            "" if line.seconds_left is None else clock(line.seconds_left),
        )
    return table


def _counts(lines: list[TrialStatus]) -> str:
    counts = Counter(line.state.partition(" ")[0].rstrip(",:") for line in lines)
    trials = f"{len(lines)} trial{'s' * (len(lines) != 1)}"
    return f"{trials}: {', '.join(f'{count} {state}' for state, count in counts.items())}"
