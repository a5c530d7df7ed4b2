"""just plan: what a sweep would do, and what is done already. A table for a person, JSON for a script."""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Column, Table
from rich.text import Text

from analysis.records.address import without_password
from analysis.records.console import wide_console
from analysis.records.names import Tag
from analysis.records.printable import printable
from pipeline.checks.addresses import require_cluster
from pipeline.cli.plan_entries import Entry, entry_of, seeds_needed, totals
from pipeline.cli.shorter_plan import shorter_plans
from pipeline.cluster.fleet import joined_fleet
from pipeline.cluster.nodes import Node, largest
from pipeline.config.schema import FolderConfig
from pipeline.config.sweep_file import load_sweep, retries_failed
from pipeline.hardware.allocation import CUDA_ALLOWANCE_GB, PROCESS_ALLOWANCE_GB, WORKSPACE_FACTOR
from pipeline.hardware.device import Machine
from pipeline.hardware.share import Share
from pipeline.metrics.names import has_weights
from pipeline.notify.address import notify_channel
from pipeline.orchestration.forecast import Prediction, wall_seconds
from pipeline.orchestration.planner import Plan, plan_sweep
from pipeline.orchestration.requirements import estimate_requirements
from pipeline.training.execution import resolve_execution

# Enough digits of a key to tell trials apart; every command that takes a key takes its beginning.
KEY_DIGITS = 8
# Remove this once a card has been measured (docs/performance.md).
CUDA_DEFAULTS = (
    "CUDA defaults: channels last, CUDA graphs and compiling are off; they were not measured on this card yet."
)
# A sweep that takes longer, in seconds, is told what shortens it.
LONG = 3600.0
MARKS = {"counted": "c", "measured": "m", "earlier trials": "m", "after running out": "o", "unknown": ""}


def plan(name: str, overrides: list[str], *, as_json: bool, verbose: bool = False) -> int:
    """Print every trial and what is done already; train nothing."""
    _, overrides = notify_channel(overrides)
    retry_failed, overrides = retries_failed(overrides)
    loaded = load_sweep(name)
    require_cluster([*loaded.base, *overrides])
    planned = plan_sweep(loaded, overrides, without_data=True)
    if planned.cluster:
        planned, nodes = _with_nodes(planned)
    else:
        nodes = ()
    left = {(one.trial.row, one.trial.seed) for one in planned.to_train(retry_failed=retry_failed)}
    entries = [
        entry_of(
            planned,
            one,
            requirement,
            trained=(one.trial.row, one.trial.seed) in left,
            with_reference=verbose or as_json,
        )
        for one, requirement in zip(planned.trials, estimate_requirements(planned), strict=True)
    ]
    if as_json:
        print(json.dumps(_plan_as_json(planned, entries, nodes), indent=2))
        return 0
    console = wide_console()
    console.print(_table(planned, entries, verbose=verbose))
    for line in [*_notes(planned, entries, nodes, verbose=verbose), *seeds_needed(planned)[1]]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


def _with_nodes(plan: Plan) -> tuple[Plan, Sequence[Node]]:
    """Return the plan for the largest node of the cluster, and the nodes that can run trials.

    Raises UserError for a trial that none of them can run, as the sweep does.
    """
    from pipeline.orchestration.fleet_places import places_of  # Ray, which takes a second to import

    data = plan.data.folder if plan.data else Path(plan.config.paths.cache)
    told = partial(print, file=sys.stderr)
    with joined_fleet(plan.config, data, plan.tracker.uri, told) as fleet:
        plan = replace(plan, machine=largest(fleet.nodes))
        places_of(lambda: plan, fleet)
        return plan, fleet.nodes


def _state(entry: Entry) -> str:
    state, record, trained = entry.planned.state, entry.planned.record, entry.seconds is not None
    if record is None or state == "new":
        return "to train"
    match state:
        case "training":
            return f"training now, step {record.step}"
        case "interrupted":
            return f"resumable at step {record.step}"
        case "failed":
            error = without_password(printable(record.error))
            return f"failed ({error}){', will retry' if trained else '; to retry, add retry=failed'}"
        case "stopped":
            resumable = f", resumable at step {record.step}" if trained else ""
            return f"stopped {record.tags.get(Tag.STOPPED, '')}".strip() + resumable
        case "done":
            return "done"


def _table(plan: Plan, entries: list[Entry], *, verbose: bool) -> Table:
    numbers = ["GB", "live", *(["ref."] if verbose else []), "time"]
    table = Table(
        "row",
        Column("seed", justify="right"),
        Column("key", no_wrap=True),
        "state",
        Column("on", no_wrap=True),
        *(Column(name, justify="right", no_wrap=True) for name in numbers),
        title=Text(f"{plan.sweep.name} on {plan.task}: {printable(plan.sweep.question)}"),
        title_justify="left",
    )
    for entry in entries:
        planned, requirement, seconds = entry.planned, entry.requirement, entry.seconds
        table.add_row(
            Text(planned.trial.row),
            str(planned.trial.seed),
            planned.key[:KEY_DIGITS] or "–",
            Text(_state(entry)),
            _device(requirement.share, plan.machine),
            f"{requirement.memory.value:.2f} {MARKS[requirement.memory.source]}",
            f"{requirement.cost.live_gb:.2f}",
            *([f"{entry.reference.live_gb:.2f}" if entry.reference else "–"] if verbose else []),
            f"{_duration(seconds.value)} {MARKS[seconds.source]}" if seconds else "",
        )
    return table


def _notes(plan: Plan, entries: list[Entry], nodes: Sequence[Node] = (), *, verbose: bool = False) -> list[str]:
    """The lines below the table: totals, and what marks and columns mean. nodes: of a cluster."""
    device = plan.machine.device
    done = sum(entry.planned.state == "done" for entry in entries)
    left = [entry for entry in entries if entry.seconds]
    notes = [f"{len(entries)} trials, {done} done, {len(left)} to train"]
    if plan.samples_to_draw:
        notes.append(f"Optuna will add {plan.samples_to_draw} more, from the scores of these trials.")
    if left:
        unit, device_hours, wall = totals(plan, entries, nodes)
        if math.isnan(wall):
            notes.append(f"The time is not known: no such trial has run on a {plan.machine.name} yet.")
        else:
            notes.append(f"Total: {device_hours:.2f} {unit.removeprefix('a ')}-hours, about {_duration(wall)}.")
            notes += [] if nodes else _shorter(plan, entries, wall)
    sources = {entry.requirement.memory.source for entry in entries}
    sources |= {entry.seconds.source for entry in left if entry.seconds}
    if "counted" in sources:
        memory = (
            f"plus {CUDA_ALLOWANCE_GB:g} GB for the CUDA context and workspaces"
            if device == "cuda"
            else f"times {WORKSPACE_FACTOR:g} for workspaces, plus {PROCESS_ALLOWANCE_GB:g} GB for the process"
        )
        notes.append(f"c: counted, not measured. Memory is live tensors {memory}.")
    if sources & {"measured", "earlier trials"}:
        notes.append("m: measured on earlier trials with the same steps on this kind of device.")
    if "after running out" in sources:
        notes.append("o: doubled, because a similar trial ran out of memory.")
    executions = {resolve_execution(entry.planned.trial.config.train, device) for entry in entries}
    ways = "; in ".join(sorted({", ".join([way.precision, *way.switches]) for way in executions}))
    notes.append(f"Steps run in {ways} (train.precision, channels_last, recompute, compile, cuda_graphs).")
    if device == "cuda":
        notes.append(CUDA_DEFAULTS)
    notes.append("live: GB of tensors at the peak of a training step.")
    for count in sorted({entry.requirement.share.processes for entry in entries} - {1}):
        notes.append(f"A trial has {count} processes, which divide its batches. GB and live are of one process.")
    if verbose:
        notes.append("ref.: the same for the reference code's step. –: not known.")
    data, metric = plan.config.data, plan.config.metric
    if has_weights(metric.extractor):
        from pipeline.checks.services import check_weights  # torch, which takes seconds to import

        if (check := check_weights(metric)).status != "ok":
            notes.append(f"{'This stops the sweep: ' if check.status == 'fault' else ''}{check}")
    if plan.data is None and isinstance(data, FolderConfig):
        notes.append(
            f"{data.root} is not here, so keys are unknown, and counts are those of the published data set. "
            f"Fetch it with: just data {data.name}"
        )
    elif plan.data is None:
        notes.append("The images are not drawn yet, so keys are unknown. The sweep draws them.")
    return notes


def _shorter(plan: Plan, entries: list[Entry], wall: float) -> list[str]:
    """Return what shortens a long sweep, in a line each."""
    if wall < LONG:
        return []
    left = [(entry.planned, entry.requirement.cost, entry.seconds.value) for entry in entries if entry.seconds]
    slots = next(entry.requirement.share.slots for entry in entries if entry.seconds)
    found = [(one, wall_seconds([], one.seconds, slots)) for one in shorter_plans(plan, left)]
    lines = [f"  {one}   about {_duration(seconds)} ({one.remark})" for one, seconds in found]
    gpu = ["A GPU shortens it too; just plan on that machine says by how much."] if plan.machine.device == "cpu" else []
    return [*(["To shorten it, add one of these:"] if lines else []), *lines, *gpu]


def _plan_as_json(plan: Plan, entries: list[Entry], nodes: Sequence[Node]) -> dict[str, Any]:
    unit, device_hours, wall = totals(plan, entries, nodes)
    return {
        "sweep": plan.sweep.name,
        "task": plan.task,
        "device": {"kind": plan.machine.device, "name": plan.machine.name, "cores": plan.machine.cores},
        "trials": [_entry_as_json(entry) for entry in entries],
        "samples_to_draw": plan.samples_to_draw,
        "nodes": [{"address": node.address, "name": node.machine.name, "gpus": node.machine.gpus} for node in nodes],
        "device_hours": _known(device_hours),
        "device_unit": unit,
        "wall_seconds": _known(wall),
        "data_is_here": plan.data is not None,
        "seeds_needed": seeds_needed(plan)[0],
    }


def _entry_as_json(entry: Entry) -> dict[str, Any]:
    planned, requirement, seconds = entry.planned, entry.requirement, entry.seconds or Prediction(0.0, "")
    return {
        "row": planned.trial.row,
        "seed": planned.trial.seed,
        "key": planned.key,
        "state": planned.state,
        "step": planned.record.step if planned.record else 0,
        "error": without_password(planned.record.error) if planned.record else "",
        "cpus": requirement.share.cpus,
        "gpus": requirement.share.gpus,
        "side_by_side": requirement.share.slots,
        "memory_gb": requirement.memory.value,
        "memory_source": requirement.memory.source,
        "live_gb": requirement.cost.live_gb,
        "reference_live_gb": entry.reference.live_gb if entry.reference else None,
        "operations": requirement.cost.operations,
        "reference_operations": entry.reference.operations if entry.reference else None,
        "seconds_left": _known(seconds.value),
        "seconds_source": seconds.source,
    }


def _known(value: float) -> float | None:
    """Return a number as JSON has it, which knows no nan."""
    return None if math.isnan(value) else value


def _device(share: Share, machine: Machine) -> str:
    together = f", {share.processes} processes" if share.processes > 1 else ""
    if machine.device == "cuda":
        return f"{share.gpus:.2g} {f'x {machine.name}' if together else f'of a {machine.name}'}"
    return f"{share.cpus} of {machine.cores} cores{together}"


def _duration(seconds: float) -> str:
    """The time in one unit, with as many digits as a forecast deserves."""
    if math.isnan(seconds):
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"
