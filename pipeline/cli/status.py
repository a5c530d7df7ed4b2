"""just status: what became of a sweep's trials, from the records alone."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from rich.table import Column, Table
from rich.text import Text

from analysis.records.mlflow_reader import read_sweep, recorded_tasks
from analysis.records.names import sweep_name
from pipeline.cli.plan import wide_console
from pipeline.config.compose import compose_surroundings, tracking_uri
from pipeline.trial.lock import is_claimed


def status(name: str, overrides: list[str], *, as_json: bool) -> int:
    """Print which trials are done, running, interrupted or failed, and why, from the records alone."""
    name = sweep_name(name)
    config = compose_surroundings(overrides)
    uri, trials = tracking_uri(config), Path(config.paths.trials)
    lines: list[dict[str, Any]] = []
    for task in recorded_tasks(uri, name):
        for (row, seed), run in read_sweep(uri, name, task).runs.to_dict("index").items():
            state = _state(run, trials / run["key"], uri)
            lines.append({"task": task, "row": row, "seed": seed, "key": run["key"], "state": state})
    if as_json:
        print(json.dumps(lines, indent=2))
        return 0
    table = Table(
        "task", "row", Column("seed", justify="right"), "key", "state", title=Text(name), title_justify="left"
    )
    for line in lines:
        table.add_row(line["task"], Text(line["row"]), str(line["seed"]), line["key"], Text(line["state"]))
    console = wide_console()
    console.print(table)
    counts = Counter(line["state"].partition(" ")[0].rstrip(",:") for line in lines)
    console.print(f"{len(lines)} trials: {', '.join(f'{count} {state}' for state, count in counts.items())}")
    return 0


def _state(run: dict[str, Any], folder: Path, uri: str) -> str:
    if run["status"] not in ("FINISHED", "MISSING") and is_claimed(folder, uri):
        return f"running, step {run['step']}"
    match run["status"]:
        case "FINISHED":
            return "done"
        case "FAILED":
            return f"failed: {run['error']}"
        case "KILLED":
            return f"stopped {run['stopped']}"
        case "RUNNING":
            return f"interrupted at step {run['step']}"
        case _:
            return "waiting"
