"""The training loop: one step, and the steps of a trial in order."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.execution import REFERENCE, Execution, autocast_for
from models.objective import Batch, Objective, check_batch, on_device, sample_step
from pipeline.hardware.timers import Lap, start_lap
from pipeline.hardware.transfer import Packed, unpack
from pipeline.training.cuda_graphs import CUDARecorder, Recorded, Recorder
from pipeline.training.prepared_steps import PreparedStep, _packed_for, in_model_range, prepared_steps
from pipeline.training.state import Batches, Optimizers, Schedule, TrainState, set_learning_rate

# How many steps the host may be ahead of a GPU: enough to keep it busy, few enough for the memory that they hold.
MOST_UNFINISHED = 8


@dataclass(frozen=True)
class StepReport:
    """One finished step: its number (from 1), epoch (from 0), detached losses by name, how long it took, and how long
    its device waited for the batch before."""

    step: int
    epoch: int
    losses: dict[str, Tensor]
    lap: Lap
    waiting: Lap


def fit(
    state: TrainState, batches: Batches, schedule: Schedule, seed: int, recorder: Recorder | None = None
) -> Iterator[StepReport]:
    """Train from where the state stands to the end of the schedule, yielding after each step.

    The caller decides what to record, when to evaluate and when to save; it may stop at any report. recorder: as in
    `prepared_step_taker`.
    """
    device = state.device
    take_step = prepared_step_taker(state, recorder)
    total = schedule.epochs * batches.steps_per_epoch
    unfinished: deque[Lap] = deque()
    with closing(prepared_steps(state, batches, schedule, seed, range(state.step, total))) as steps:
        while True:
            waiting = start_lap(device)
            prepared = next(steps, None)
            if prepared is None:
                return
            waiting.stop()
            lap = start_lap(device)
            set_learning_rate(state.optimizers, schedule.rate(prepared.epoch))
            losses = take_step(prepared)
            lap.stop()
            unfinished.append(lap)
            if len(unfinished) > MOST_UNFINISHED:
                unfinished.popleft().wait()
            yield StepReport(state.step, prepared.epoch, losses, lap, waiting)


def prepared_step_taker(
    state: TrainState, recorder: Recorder | None = None
) -> Callable[[PreparedStep], dict[str, Tensor]]:
    """What takes the steps of the state that were prepared, in their order; it gives `train_step`'s losses.

    Nothing may be loaded or moved afterwards, since a recording keeps the tensors it has met. recorder: what records
    steps where they are to be recorded, else CUDA's.
    """
    objective, device = state.objective, state.device

    def compute(batch: Batch, draws: Any) -> dict[str, Tensor]:
        return compute_step(objective, state.optimizers, in_model_range(batch), draws, state.execution)

    recorded = Recorded(compute, device, recorder or CUDARecorder(device)) if state.execution.cuda_graphs else None

    def take_step(prepared: PreparedStep) -> dict[str, Tensor]:
        objective.set_counts(prepared.counts)
        arguments = prepared.arguments
        if not isinstance(arguments, Packed):
            losses = compute(*arguments)
        elif recorded:
            losses = recorded(arguments)
        else:
            losses = compute(*unpack(arguments.to(device)))
        state.step = prepared.step + 1
        return losses

    return take_step


def step_taker(
    state: TrainState, recorder: Recorder | None = None
) -> Callable[[Batch, torch.Generator], dict[str, Tensor]]:
    """What draws and takes a step over a batch (on the host) whenever it is called, as a trial takes its steps."""
    take_prepared = prepared_step_taker(state, recorder)

    def take_step(batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        check_batch(batch, state.objective.shape)
        draws, counts = state.objective.sample_randomness(len(batch.a), rng, state.objective.counts)
        return take_prepared(PreparedStep(state.step, 0, _packed_for(state, batch, draws), counts))

    return take_step


def train_step(
    objective: Objective,
    optimizers: Optimizers,
    batch: Batch,
    rng: torch.Generator,
    execution: Execution = REFERENCE,
) -> dict[str, Tensor]:
    """One step of every phase, in the objective's order; the detached losses as 'phase/name'. Raises ValueError for a
    batch that cannot be."""
    check_batch(batch, objective.shape)
    draws = on_device(sample_step(objective, len(batch.a), rng), batch.a.device)
    return compute_step(objective, optimizers, batch, draws, execution)


def compute_step(
    objective: Objective, optimizers: Optimizers, batch: Batch, draws: Any, execution: Execution = REFERENCE
) -> dict[str, Tensor]:
    """The device's part of a step, once all draws are made."""
    with autocast_for(execution, batch.a.device):
        fakes = objective.generate(batch, draws)
    return update(objective, optimizers, batch, fakes, execution)


def update(
    objective: Objective, optimizers: Optimizers, batch: Batch, fakes: Any, execution: Execution = REFERENCE
) -> dict[str, Tensor]:
    """The rest of it, once the images are made."""
    report: dict[str, Tensor] = {}
    for optimizer in optimizers.values():
        # Before any loss: the last step's gradients would stand beside this one's graph at its widest.
        optimizer.zero_grad(set_to_none=True)
    for phase in objective.phases:
        with autocast_for(execution, batch.a.device):
            losses = objective.losses(phase, batch, fakes)
        torch.stack(list(losses.values())).sum().backward()
        optimizers[phase].step()
        report |= {f"{phase}/{name}": loss.detach() for name, loss in losses.items()}
    return report


def loss_history(reports: Sequence[StepReport]) -> dict[str, Tensor]:
    """Each loss of the reports (N,), where it is."""
    return {name: torch.stack([report.losses[name] for report in reports]) for name in reports[0].losses}


def mean_losses(history: Mapping[str, Tensor]) -> dict[str, float]:
    """Each loss averaged; waits where the history is on a GPU."""
    return {name: float(losses.mean()) for name, losses in history.items()}
