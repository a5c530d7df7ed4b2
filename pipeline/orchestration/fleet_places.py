"""What the trials of a plan get on each node of a cluster."""

import time
from collections.abc import Callable, Mapping
from functools import lru_cache

from pipeline.cluster.fleet import Fleet
from pipeline.cluster.placement import Places
from pipeline.cluster.ray_cluster import free_resources
from pipeline.errors import UserError
from pipeline.hardware.device import Machine
from pipeline.hardware.share import Share
from pipeline.orchestration.job_queue import larger
from pipeline.orchestration.planner import Plan
from pipeline.orchestration.requirements import Requirement, requirements_on

# Between two questions to Ray. A trial that has just ended may keep its resources for so long.
SECONDS_BETWEEN_QUESTIONS = 0.5


def places_of(plan: Callable[[], Plan], fleet: Fleet) -> Places:
    """Return the nodes of a cluster as places for the trials of a plan. plan: as it is now; a search adds trials.

    Raises UserError for a trial that no node can run.
    """
    nodes = max(1, len(fleet.nodes))

    @lru_cache(maxsize=256)
    def requirements(machine: Machine, trials: int) -> Mapping[str, Requirement]:
        return requirements_on(plan(), machine, nodes, fitting=True)

    def share_on(key: str, machine: Machine, least_gb: float) -> Share | None:
        found = requirements(machine, len(plan().trials)).get(key)
        share = found.share if found else None
        while share and share.memory_gb < least_gb:
            share = larger(share, machine)
        return share

    wanted = {planned.key: planned.trial.config.compute.gpu for planned in plan().trials}
    spread = plan().config.compute.placement == "spread"
    places = Places(fleet.nodes, share_on, _seldom(free_resources), wanted, spread=spread)
    # Memory is looked at last, since the cost of a step takes seconds to count.
    for fault_of in (places.missing_gpu, places.missing_memory):
        faults = [
            f"{plan().sweep.place}, row {planned.trial.row!r}: {fault}"
            for planned in plan().trials
            if (fault := fault_of(planned.key))
        ]
        if faults:
            raise UserError(*dict.fromkeys(faults))
    return places


def _seldom(ask: Callable[[], Mapping[str, Mapping[str, float]]]) -> Callable[[], Mapping[str, Mapping[str, float]]]:
    """Return a function that gives the last answer again until some time has passed."""
    asked, answer = -SECONDS_BETWEEN_QUESTIONS, dict[str, Mapping[str, float]]()

    def now() -> Mapping[str, Mapping[str, float]]:
        nonlocal asked, answer
        if time.monotonic() - asked >= SECONDS_BETWEEN_QUESTIONS:
            asked, answer = time.monotonic(), dict(ask())
        return answer

    return now
