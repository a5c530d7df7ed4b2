"""What `just plan` offers where a sweep takes long: overrides that shorten it, and by how much."""

import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.config.schema import Config, FolderConfig
from pipeline.config.sweep_file import Trial, expand, with_seeds
from pipeline.errors import UserError
from pipeline.orchestration.planner import Plan, PlannedTrial
from pipeline.training.execution import StepCost
from pipeline.training.step_cost import step_cost

ONE_SEED = "one seed gives no conclusions"
OTHER_TRIALS = "changes the results"


@dataclass(frozen=True)
class Shorter:
    """Overrides, the remaining seconds of each trial with them, and a remark."""

    overrides: tuple[str, ...]
    seconds: tuple[float, ...]
    remark: str

    def __str__(self) -> str:
        return shlex.join(self.overrides)


def shorter_plans(plan: Plan, left: Sequence[tuple[PlannedTrial, StepCost, float]]) -> list[Shorter]:
    """Return the overrides that are valid for this sweep and shorten it.

    Trials of another size or of fewer epochs are other trials. So both are offered only where nothing is trained yet.
    Their times are in proportion to the counted operations; those of another size are counted for one trial.

    Args:
        left: the trials that are left to train, each with the cost of its step and its remaining seconds.
    """
    found: list[Shorter] = []
    seeds = plan.sweep.seeds
    kept = tuple(seconds for planned, _, seconds in left if planned.trial.seed == seeds[0])
    if len(seeds) > 1 and kept:
        found.append(Shorter((f"seeds=[{seeds[0]}]",), kept, ONE_SEED))
    if any(planned.record for planned in plan.trials):
        return found
    train, data = plan.config.train, plan.config.data
    epochs = {"train.constant_epochs": (train.constant_epochs,), "train.decay_epochs": (train.decay_epochs,)}
    sizes = {"data.size": data.size} | ({"data.load_size": data.load_size} if isinstance(data, FolderConfig) else {})
    offers: list[tuple[Mapping[str, Sequence[int]], Callable[[Config], float]]] = [
        (epochs, lambda _: 1.0),
        (sizes, lambda other: _growth(plan, left[0], other)),
    ]
    for fields, growth in offers:
        overrides = tuple(f"{name}={_half(values)}" for name, values in fields.items())
        if trials := _valid(plan, fields, overrides):
            by_name = {(trial.row, trial.seed): trial for trial in trials}
            factor = growth(trials[0].config)
            seconds = tuple(
                _scaled(plan, of_trial, by_name[of_trial[0].trial.row, of_trial[0].trial.seed], factor)
                for of_trial in left
            )
            found.append(Shorter(overrides, seconds, OTHER_TRIALS))
    before = sum(seconds for _, _, seconds in left)
    return [one for one in found if sum(one.seconds) < before]


def _half(values: Sequence[int]) -> str:
    """Return half of each value as in an override. Sides of a square are one number."""
    halves = list(dict.fromkeys(value // 2 for value in values))
    return str(halves[0]) if len(halves) == 1 else f"[{','.join(str(value // 2) for value in values)}]"


def _growth(plan: Plan, first: tuple[PlannedTrial, StepCost, float], other: Config) -> float:
    """Return the operations of a step of another trial, relative to those of the first one."""
    return step_cost(other, Path(plan.config.paths.cache)).operations / first[1].operations


def _valid(plan: Plan, fields: Collection[str], overrides: Sequence[str]) -> list[Trial]:
    """Return the sweep's trials with these overrides; none if they are refused."""
    kept = [text for text in plan.overrides if text.partition("=")[0] not in fields]
    try:
        return expand(*with_seeds(plan.sweep, [*kept, *overrides]))
    except UserError:
        return []


def _scaled(plan: Plan, of_trial: tuple[PlannedTrial, StepCost, float], other: Trial, factor: float) -> float:
    """Return the seconds of a trial as `other`, whose steps have so many times the operations."""
    planned, cost, seconds = of_trial
    scaled = replace(
        cost,
        operations=int(cost.operations * factor),
        translation_operations=int(cost.translation_operations * factor),
    )
    operations = plan.remaining_operations(replace(planned, trial=other), scaled)
    return seconds * operations / plan.remaining_operations(planned, cost)
