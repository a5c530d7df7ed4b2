"""The training loop: one step, and the steps of a trial in order."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from models.configs.execution import REFERENCE, Execution
from models.execution import autocast_for
from models.objective import ALONE, Batch, Objective, Ranks
from pipeline.config.schema import TrainConfig
from pipeline.data.batches import Batches
from pipeline.hardware.timers import Timer, start_timer
from pipeline.hardware.transfer import Packed, unpack
from pipeline.training.cuda_graphs import CUDARecorder, Recorded, Recorder
from pipeline.training.prepared_steps import PreparedStep, in_model_range, prepared_steps
from pipeline.training.state import Optimizers, TrainState, gradients, learning_rate, set_learning_rate

# How many steps the host may be ahead of a GPU: enough to keep it busy, few enough for the memory that they hold.
MOST_UNFINISHED = 8


@dataclass(frozen=True)
class StepReport:
    """One finished step.

    step: its number, from 1. epoch: from 0. losses: detached, by name. timer: the time of the step. data_timer: how
    long the device waited for the batch before it.
    """

    step: int
    epoch: int
    losses: dict[str, Tensor]
    timer: Timer
    data_timer: Timer


def fit(
    state: TrainState, batches: Batches, train: TrainConfig, seed: int, recorder: Recorder | None = None
) -> Iterator[StepReport]:
    """Train from the state's step to the end of the schedule. Yield after each step.

    The caller decides what to record, when to evaluate and when to save. It may stop at any report. recorder: as in
    `StepRunner`.
    """
    device, runner = state.device, StepRunner(state, recorder)
    total = train.epochs * batches.steps_per_epoch
    unfinished: deque[Timer] = deque()
    with closing(prepared_steps(state, batches, train, seed, range(state.step, total))) as steps:
        while state.step < total:
            data_timer = start_timer(device)
            prepared = next(steps)
            data_timer.stop()
            timer = start_timer(device)
            epoch = state.step // batches.steps_per_epoch
            set_learning_rate(state.optimizers, learning_rate(train, epoch))
            losses = runner.run(prepared)
            timer.stop()
            unfinished.append(timer)
            if len(unfinished) > MOST_UNFINISHED:
                unfinished.popleft().wait()
            yield StepReport(state.step, epoch, losses, timer, data_timer)


class StepRunner:
    """Runs prepared steps of a state in their order. With `cuda_graphs` it records each kind of step and replays it.

    A recording keeps the tensors of the state: do not load or move the state afterwards. recorder: records steps on
    other devices than CUDA.
    """

    def __init__(self, state: TrainState, recorder: Recorder | None = None) -> None:
        self._state, device = state, state.device
        self._step = partial(
            train_step, state.objective, state.optimizers, execution=state.execution, ranks=state.ranks
        )
        self._recorded = (
            Recorded(self._step, device, recorder or CUDARecorder(device)) if state.execution.cuda_graphs else None
        )

    def run(self, prepared: PreparedStep) -> dict[str, Tensor]:
        """Take the step. Return the losses of `train_step`."""
        state, arguments = self._state, prepared.arguments
        state.objective.set_counts(prepared.counts)
        if not isinstance(arguments, Packed):
            losses = self._step(*arguments)
        elif self._recorded:
            losses = self._recorded(arguments)
        else:
            losses = self._step(*unpack(arguments.to(state.device)))
        state.step += 1
        return losses


def train_step(
    objective: Objective,
    optimizers: Optimizers,
    batch: Batch,
    randomness: Any,
    execution: Execution = REFERENCE,
    ranks: Ranks = ALONE,
) -> dict[str, Tensor]:
    """Update every phase once, in the objective's order. Return the detached losses as 'phase/name'.

    All of this runs on the device of the batch, where the randomness must be too, and samples nothing. ranks:
    processes that take the step together. Each gives its part of the batch; all get the same update, and the losses of
    the whole.
    """
    batch = in_model_range(batch)
    with autocast_for(execution, batch.a.device):
        fakes = objective.generate(batch, randomness, ranks)
    for optimizer in optimizers.values():
        # Before any loss: the gradients of the last step would add to the peak memory of this one's graph.
        optimizer.zero_grad(set_to_none=True)
    report: dict[str, Tensor] = {}
    for phase in objective.phases:
        with autocast_for(execution, batch.a.device):
            losses = objective.losses(phase, batch, fakes)
        torch.stack(list(losses.values())).sum().backward()
        found = {f"{phase}/{name}": loss.detach() for name, loss in losses.items()}
        # Losses are means over images, and the parts are equal. So means over processes are those of the whole batch.
        ranks.average([*gradients(optimizers[phase]), *found.values()])
        optimizers[phase].step()
        report |= found
    return report


def loss_history(reports: Sequence[StepReport]) -> dict[str, Tensor]:
    """Return each loss of the reports as one tensor (N,), on its device."""
    return {name: torch.stack([report.losses[name] for report in reports]) for name in reports[0].losses}
