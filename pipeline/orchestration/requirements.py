"""What each trial of a plan needs of the machine, and what must be there before one trains."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from pipeline.cluster.nodes import Node
from pipeline.config.parallel import processes_of
from pipeline.errors import UserError, collected
from pipeline.hardware.allocation import require_cores, share_of
from pipeline.hardware.cuda import cuda_fault, find_cuda
from pipeline.hardware.device import Machine, shares_gpus
from pipeline.hardware.share import Share
from pipeline.hardware.timing_conditions import execution_name
from pipeline.metrics.names import has_weights
from pipeline.orchestration.forecast import Prediction, predict_memory
from pipeline.orchestration.planner import Plan, checkpoint_path
from pipeline.tracking.also import require_writers
from pipeline.tracking.store import TrialRecord
from pipeline.training.execution import StepCost, resolve_execution
from pipeline.training.step_cost import step_cost


@dataclass(frozen=True)
class Requirement:
    """What a trial needs: the cost of a step, the predicted memory, and the share of the machine that it gets.

    similar: the recorded trials whose steps cost the same.
    """

    cost: StepCost
    memory: Prediction
    share: Share
    similar: tuple[TrialRecord, ...]


def estimate_requirements(plan: Plan) -> list[Requirement]:
    """Return the requirement of each of the plan's trials on the plan's machine, in their order.

    Raises UserError for a trial that the machine cannot run.
    """
    return list(requirements_on(plan, plan.machine, 1).values())


def requirements_on(plan: Plan, machine: Machine, nodes: int, *, fitting: bool = False) -> dict[str, Requirement]:
    """Return the requirement of each trial on one machine of a cluster, by its key, in the plan's order.

    nodes: how many such machines divide the trials. fitting: leave out what the machine cannot run, instead of raising
    UserError.
    """
    costs = [step_cost(planned.trial.config, Path(plan.config.paths.cache)) for planned in plan.trials]
    trials = ceil((len(plan.trials) + plan.samples_to_draw) / nodes)
    similar = {work: tuple(plan.tracker.find_trials_of_same_cost(work)) for work in {cost.work for cost in costs}}
    requirements: dict[str, Requirement] = {}
    for number, (planned, cost) in enumerate(zip(plan.trials, costs, strict=True)):
        config, device = planned.trial.config, machine.device
        execution = execution_name(resolve_execution(config.train, device), device, processes_of(config.compute))
        memory = predict_memory(cost, machine, similar[cost.work], execution)
        try:
            share = share_of(machine, plan.config.compute, memory.value, trials, live_gb=cost.live_gb)
        except UserError as error:
            if fitting:
                continue
            raise UserError(f"{plan.sweep.place}, row {planned.trial.row!r}: {error}") from None
        # Without the data there are no keys yet.
        requirements[planned.key or str(number)] = Requirement(cost, memory, share, similar[cost.work])
    return requirements


def slots_on(plan: Plan, nodes: Sequence[Node]) -> int:
    """Return how many trials like the first one the nodes of a cluster run at once."""
    on_each = [requirements_on(plan, node.machine, len(nodes), fitting=True) for node in nodes]
    return sum(requirement.share.slots for found in on_each for requirement in list(found.values())[:1])


def check_readiness(plan: Plan) -> None:
    """Raise UserError if there are too few cores, CUDA or a folder has a fault, or something is not installed.

    All such faults are raised at once. A sweep on the CPU does not check the folders, so that it loses no time. The
    nodes of a cluster are asked in another way (`pipeline.cluster.node_check`).
    """
    faults: list[str] = []
    if plan.machine.device == "cuda" and not plan.cluster:
        from pipeline.checks.machine import folder_checks  # a sweep on the CPU does not need to import it

        config, samples = plan.config, plan.samples_to_draw
        sharing = shares_gpus(config.compute) and len(plan.trials) + samples > 1
        if fault := cuda_fault(find_cuda(), sharing=sharing):
            faults.append(str(fault))
        new = [planned for planned in plan.trials if not checkpoint_path(config, planned.key).exists()]
        checks = folder_checks(config, len(new) + samples)
        faults += [str(check).rstrip(".") for check in checks if check.status == "fault"]
    with collected(faults):
        if not plan.cluster:
            require_cores(plan.machine, plan.config.compute)
    with collected(faults):
        require_writers(plan.config.tracking.also)
    metric = plan.config.metric
    if has_weights(metric.extractor) or metric.also or metric.segmentation:
        from pipeline.metrics.extra_metrics import require_networks  # torch-fidelity, which takes a second to import

        with collected(faults):
            require_networks(metric)
    if faults:
        raise UserError(*faults)
