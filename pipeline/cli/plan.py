"""What a sweep would do, and how far it is: tables for a person, JSON for a script. Nothing is trained."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from analysis.records.names import Tag
from pipeline.config.schema import FolderConfig
from pipeline.config.sweep_file import load_sweep, retries_failed
from pipeline.hardware.allocation import CUDA_ALLOWANCE_GB, PROCESS_ALLOWANCE_GB, WORKSPACE_FACTOR
from pipeline.hardware.device import Machine
from pipeline.hardware.mps import expects_mps
from pipeline.hardware.share import Share
from pipeline.orchestration.eta import wall_seconds
from pipeline.orchestration.forecast import Prediction, predict_seconds
from pipeline.orchestration.planner import Need, Plan, PlannedTrial, find_needs, plan_sweep
from pipeline.training.execution import resolve_execution
from pipeline.training.step_cost import StepCost, step_cost

# As many digits of a key as tell trials apart; every command that takes a key takes its beginning.
KEY_DIGITS = 8
# To be taken back when a card was measured (docs/performance.md).
CUDA_DEFAULTS = (
    "CUDA defaults: channels last, CUDA graphs and compiling are off; they were not measured on this card yet."
)
# Columns of a table that goes into a file or a pipe.
WIDTH = 160


@dataclass(frozen=True)
class Entry:
    """A line of the plan. reference: the same step as the reference code takes it. seconds: those that are left, and
    0 for a trial that will not be trained."""

    planned: PlannedTrial
    need: Need
    state: str
    reference: StepCost
    seconds: Prediction


def plan(name: str, overrides: list[str], *, as_json: bool) -> int:
    """Print every trial and what is done already; train nothing."""
    retry_failed, overrides = retries_failed(overrides)
    planned = plan_sweep(load_sweep(name), overrides, without_data=True)
    left = planned.to_train(retry_failed=retry_failed)
    needs = find_needs(planned)
    entries = [_entry(planned, found, need, found in left) for found, need in zip(planned.trials, needs, strict=True)]
    if as_json:
        print(json.dumps(_plan_as_json(planned, entries), indent=2))
    else:
        _print_plan(planned, entries)
    return 0


def _entry(planned: Plan, found: PlannedTrial, need: Need, is_left: bool) -> Entry:
    record = found.record
    state = {
        "done": "done",
        "new": "to train",
        "training": f"training now, step {record.step if record else 0}",
        "interrupted": f"resumable at step {record.step if record else 0}",
        "stopped": f"stopped {record.tags.get(Tag.STOPPED, '') if record else ''}".strip(),
        "failed": f"failed ({record.error if record else ''})",
    }[found.state]
    if found.state == "failed":
        state += ", will try again" if is_left else "; retry=failed tries again"
    if found.state == "stopped" and is_left:
        state += f", resumable at step {record.step if record else 0}"
    reference = step_cost(found.trial.config, Path(planned.config.paths.cache), plain=True)
    if not is_left:
        return Entry(found, need, state, reference, Prediction(0.0, ""))
    seconds = predict_seconds(
        found.trial.config,
        planned.left_of(found),
        planned.operations_left(found, need.cost),
        need.alike,
        need.share.cpus,
        mps=expects_mps(planned.config.compute, planned.machine.device, packed=need.share.packed),
    )
    return Entry(found, need, state, reference, seconds)


def _print_plan(planned: Plan, entries: list[Entry]) -> None:
    table = Table(
        "row",
        Column("seed", justify="right"),
        Column("key", no_wrap=True),
        "state",
        Column("on", no_wrap=True),
        *(Column(name, justify="right", no_wrap=True) for name in ("GB", "live", "ref.", "time")),
        title=f"{planned.sweep.name} on {planned.task}: {planned.sweep.question}",
        title_justify="left",
    )
    for entry in entries:
        found, need = entry.planned, entry.need
        table.add_row(
            Text(found.trial.row),
            str(found.trial.seed),
            found.key[:KEY_DIGITS] or "–",
            Text(entry.state),
            _place(need.share, planned.machine),
            f"{need.memory.value:.2f}{_mark(need.memory)}",
            f"{need.cost.live_gb:.2f}",
            f"{entry.reference.live_gb:.2f}",
            f"{_spelt(entry.seconds.value)}{_mark(entry.seconds)}" if entry.seconds.source else "",
        )
    console = _console()
    console.print(table)
    for line in _notes(planned, entries):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _notes(planned: Plan, entries: list[Entry]) -> list[str]:
    machine = planned.machine
    counts = Counter(entry.planned.state for entry in entries)
    left = [entry for entry in entries if entry.seconds.source]
    notes = [f"{len(entries)} trials, {counts['done']} done, {len(left)} to train"]
    if planned.samples_to_draw:
        notes.append(f"{planned.samples_to_draw} more will be drawn by Optuna from what these reach")
    if left:
        unit, device_hours, wall = _totals(planned, entries)
        notes.append(f"in sum {device_hours:.2f} hours of {unit}, {_spelt(wall)} of wall time")
    sources = {source for entry in entries for source in (entry.need.memory.source, entry.seconds.source)}
    allowance = (
        f"{CUDA_ALLOWANCE_GB:g} GB for the context and workspaces"
        if machine.device == "cuda"
        else f"{WORKSPACE_FACTOR:g} for workspaces and {PROCESS_ALLOWANCE_GB:g} GB for the process"
    )
    if "counted" in sources:
        notes.append(
            f"c: counted without training; memory is live tensors plus {allowance}"
            if machine.device == "cuda"
            else f"c: counted without training; memory is live tensors times {allowance}"
        )
    if sources & {"measured", "earlier trials"}:
        notes.append("m: measured on trials of the same work on this kind of device")
    if "after running out" in sources:
        notes.append("o: a trial of this work ran out of half of it")
    executions = {resolve_execution(entry.planned.trial.config.train, machine.device) for entry in entries}
    ways = {", ".join([execution.precision, *execution.switches]) for execution in executions}
    settings = "train.precision, channels_last, recompute, compile, cuda_graphs"
    notes.append(f"steps are taken in {'; in '.join(sorted(ways))} ({settings})")
    if machine.device == "cuda":
        notes.append(CUDA_DEFAULTS)
    notes.append(
        "live, ref.: GB of live tensors at the peak of a step as it is taken here, and as the reference code takes it"
    )
    data = planned.config.data
    if planned.data is None and isinstance(data, FolderConfig):
        notes.append(
            f"{data.root} is not here: keys are not known, and counts are those of the published set; "
            f"just data {data.name} fetches it"
        )
    return notes


def _totals(planned: Plan, entries: list[Entry]) -> tuple[str, float, float]:
    """The unit of the devices' hours, how many of them, and the wall time in seconds."""
    left = [entry for entry in entries if entry.seconds.source]
    share = left[0].need.share
    wall = wall_seconds([], [entry.seconds.value for entry in left], share.slots)
    if planned.machine.device == "cuda":
        used = sum(entry.seconds.value * entry.need.share.gpus for entry in left)
        return "a GPU", used / 3600, wall
    return "a core", sum(entry.seconds.value * entry.need.share.cpus for entry in left) / 3600, wall


def _plan_as_json(planned: Plan, entries: list[Entry]) -> dict[str, Any]:
    unit, device_hours, wall = _totals(planned, entries) if any(e.seconds.source for e in entries) else ("", 0.0, 0.0)
    return {
        "sweep": planned.sweep.name,
        "task": planned.task,
        "device": {"kind": planned.machine.device, "name": planned.machine.name, "cores": planned.machine.cores},
        "trials": [
            {
                "row": entry.planned.trial.row,
                "seed": entry.planned.trial.seed,
                "key": entry.planned.key,
                "state": entry.planned.state,
                "step": entry.planned.record.step if entry.planned.record else 0,
                "error": entry.planned.record.error if entry.planned.record else "",
                "cpus": entry.need.share.cpus,
                "gpus": entry.need.share.gpus,
                "side_by_side": entry.need.share.slots,
                "memory_gb": entry.need.memory.value,
                "memory_source": entry.need.memory.source,
                "live_gb": entry.need.cost.live_gb,
                "reference_live_gb": entry.reference.live_gb,
                "operations": entry.need.cost.operations,
                "reference_operations": entry.reference.operations,
                "seconds_left": entry.seconds.value,
                "seconds_source": entry.seconds.source,
            }
            for entry in entries
        ],
        "samples_to_draw": planned.samples_to_draw,
        "device_hours": device_hours,
        "device_unit": unit,
        "wall_seconds": wall,
        "data_is_here": planned.data is not None,
    }


def _console() -> Console:
    """As wide as the terminal, or wide enough for a file to hold each trial in a line."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def _place(share: Share, machine: Machine) -> str:
    if machine.device == "cuda":
        return f"{share.gpus:.2g} of a {machine.name}"
    return f"{share.cpus} of {machine.cores} cores"


def _mark(prediction: Prediction) -> str:
    return {"counted": " c", "measured": " m", "earlier trials": " m", "after running out": " o"}[prediction.source]


def _spelt(seconds: float) -> str:
    """The time with two units at most, as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"
