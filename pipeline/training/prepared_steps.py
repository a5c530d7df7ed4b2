"""Steps as the host prepares them: the batch, the draws, and on a GPU one buffer that holds both."""

import collections.abc
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from models.images import to_model_range
from models.objective import Batch, Counts, check_batch
from pipeline.hardware.transfer import Packed, pack
from pipeline.rng import rng_for
from pipeline.training.prefetch import ahead
from pipeline.training.state import Batches, Schedule, TrainState


@dataclass(frozen=True)
class PreparedStep:
    """What the host settles of a step: its number and epoch (from 0), the batch and the draws, and the counts of pools
    and queues behind it. For a GPU batch and draws lie in one buffer."""

    step: int
    epoch: int
    arguments: tuple[Batch, Any] | Packed
    counts: Counts


def prepared_steps(
    state: TrainState, batches: Batches, schedule: Schedule, seed: int, numbers: Iterable[int]
) -> collections.abc.Generator[PreparedStep]:
    """The steps of these numbers, in order, each prepared on the host. For a GPU a thread prepares the next ones while
    one is taken."""
    steps = prepare_steps(state, batches, schedule, seed, numbers)
    # Preparing takes milliseconds, as a step does on a GPU. On a CPU a thread would take the step's own core.
    return ahead(steps) if state.device.type == "cuda" else steps


def prepare_steps(
    state: TrainState, batches: Batches, schedule: Schedule, seed: int, numbers: Iterable[int]
) -> collections.abc.Generator[PreparedStep]:
    """Prepare the steps of these numbers. They are the same however far ahead they are asked for."""
    objective, device, counts = state.objective, state.device, state.objective.counts
    for step in numbers:
        epoch, index = divmod(step, batches.steps_per_epoch)
        rng = rng_for(seed, "step", step)
        batch = batches.batch(epoch, index, rng, decaying=schedule.decays(epoch))
        if device.type == "cpu":
            batch = in_model_range(batch)
            check_batch(batch, objective.shape)
        draws, counts = objective.sample_randomness(len(batch.a), rng, counts)
        yield PreparedStep(step, epoch, _packed_for(state, batch, draws), counts)


def in_model_range(batch: Batch) -> Batch:
    """The batch in float32 and [-1, 1]."""
    return Batch(to_model_range(batch.a), to_model_range(batch.b))


def _packed_for(state: TrainState, batch: Batch, draws: Any) -> tuple[Batch, Any] | Packed:
    """The arguments of a step as its device takes them best: a CPU where they are, a GPU in one copy."""
    if state.device.type == "cuda" or state.execution.cuda_graphs:
        return pack((batch, draws), pinned=state.device.type == "cuda")
    return batch, draws
