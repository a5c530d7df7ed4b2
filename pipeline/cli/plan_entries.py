"""What `just plan` shows: each trial with what it needs, the totals, and how many seeds would tell rows apart."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.cluster.nodes import Node
from pipeline.hardware.mps import expects_mps
from pipeline.orchestration.forecast import Prediction, predict_seconds, wall_seconds
from pipeline.orchestration.planner import Plan, PlannedTrial
from pipeline.orchestration.registration import recorded_so_far
from pipeline.orchestration.requirements import Requirement, slots_on
from pipeline.training.execution import StepCost
from pipeline.training.step_cost import has_plain_step, step_cost


@dataclass(frozen=True)
class Entry:
    """A trial of the plan. seconds: the remaining time, None if the trial will not be trained. reference: the cost of
    the same step in the reference code, None if nobody asks for it or if it is not known."""

    planned: PlannedTrial
    requirement: Requirement
    seconds: Prediction | None
    reference: StepCost | None


def entry_of(
    plan: Plan, planned: PlannedTrial, requirement: Requirement, *, trained: bool, with_reference: bool
) -> Entry:
    """Return the entry of a trial. trained: whether the sweep would train it. with_reference: count that cost too."""
    config = planned.trial.config
    counted = with_reference and has_plain_step(config.model)
    reference = step_cost(config, Path(plan.config.paths.cache), plain=True) if counted else None
    if not trained:
        return Entry(planned, requirement, None, reference)
    seconds = predict_seconds(
        config,
        plan.remaining_work(planned),
        plan.remaining_operations(planned, requirement.cost),
        requirement.similar,
        requirement.share.threads,
        mps=expects_mps(plan.config.compute, plan.machine.device, packed=requirement.share.packed),
        machine=plan.machine if plan.cluster else None,
    )
    return Entry(planned, requirement, seconds, reference)


def totals(plan: Plan, entries: list[Entry], nodes: Sequence[Node]) -> tuple[str, float, float]:
    """Return the unit of the devices' hours, how many of them, and the wall time in seconds. They may be nan."""
    left = [(entry.requirement.share, entry.seconds.value) for entry in entries if entry.seconds]
    if not left:
        return "", 0.0, 0.0
    slots = slots_on(plan, nodes) if nodes else left[0][0].slots
    wall = wall_seconds([], [seconds for _, seconds in left], slots)
    on_gpu = plan.machine.device == "cuda"
    used = sum(seconds * (share.gpus if on_gpu else share.cpus) for share, seconds in left)
    return "a GPU" if on_gpu else "a core", used / 3600, wall


def seeds_needed(plan: Plan) -> tuple[list[dict[str, Any]], list[str]]:
    """Return how many seeds would tell rows apart: for JSON, and as lines."""
    finished = Counter(planned.trial.row for planned in plan.trials if planned.state == "done")
    if max(finished.values(), default=0) < 2:
        return [], []
    from analysis.tables.seeds import needed_seeds, seeds_lines  # scipy, which takes a second to import

    record = recorded_so_far(plan)
    return [asdict(need) for need in needed_seeds(record)], seeds_lines(record)
