"""The training loop: one step, and the steps of a trial in order."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from models.execution import REFERENCE, Execution, arithmetic
from models.objective import Batch, Objective, check_batch, on_device
from pipeline.graphs import CUDARecorder, Recorded, Recorder
from pipeline.timing import Lap, start_lap

Optimizers = Mapping[str, torch.optim.Optimizer]


@dataclass(frozen=True)
class Schedule:
    """How long to train, and with which learning rate.

    The rate is constant for `constant_epochs`, then falls linearly over `decay_epochs`, one value an epoch.
    """

    constant_epochs: int
    decay_epochs: int
    learning_rate: float

    @property
    def epochs(self) -> int:
        return self.constant_epochs + self.decay_epochs

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch (from 0); the last one still learns, as in the reference code."""
        decayed = max(0, epoch + 1 - self.constant_epochs)
        return self.learning_rate * (1 - decayed / (self.decay_epochs + 1))

    def decays(self, epoch: int) -> bool:
        """Whether the epoch (from 0) lies in the second phase."""
        return epoch >= self.constant_epochs


class Batches(Protocol):
    """Where batches come from; each is a function of its place alone, so a trial can go on anywhere."""

    steps_per_epoch: int
    device: torch.device

    def batch(self, epoch: int, index: int, rng: torch.Generator, *, decaying: bool) -> Batch:
        """The index-th batch of an epoch, augmented with draws from rng."""
        ...


@dataclass
class TrainState:
    """All that changes while a trial trains, and how its steps are carried out; `step` counts those that are done."""

    objective: Objective
    optimizers: Optimizers
    step: int = 0
    execution: Execution = REFERENCE

    def state_dict(self) -> dict[str, Any]:
        optimizers = {phase: optimizer.state_dict() for phase, optimizer in self.optimizers.items()}
        return {"step": self.step, "objective": self.objective.state_dict(), "optimizers": optimizers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.objective.load_state_dict(state["objective"])
        for phase, optimizer in self.optimizers.items():
            # Its groups are settings, which stay this trial's; a checkpoint may be of another way to take steps.
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state["optimizers"][phase]["state"]})
            _lay_out_as_weights(optimizer)
        self.step = state["step"]


@dataclass(frozen=True)
class StepReport:
    """One finished step: its number (from 1), epoch (from 0), detached losses by name, how long it took, and how long
    its device waited for the batch before."""

    step: int
    epoch: int
    losses: dict[str, Tensor]
    lap: Lap
    waiting: Lap


def make_optimizers(
    objective: Objective, learning_rate: float, betas: tuple[float, float], execution: Execution = REFERENCE
) -> dict[str, torch.optim.Adam]:
    """One Adam a phase; fused: all of a phase's weights in one pass."""
    optimizers: dict[str, torch.optim.Adam] = {}
    for phase in objective.phases:
        weights = objective.parameters_of(phase)
        # A recorded step finds the rate of the day where it found the first.
        rate = torch.tensor(learning_rate, device=weights[0].device) if execution.cuda_graphs else learning_rate
        optimizers[phase] = torch.optim.Adam(
            weights, lr=rate, betas=betas, fused=True, capturable=execution.cuda_graphs
        )
    return optimizers


def rng_for(seed: int, *purpose: object) -> torch.Generator:
    """A stream of random numbers of its own for each seed and purpose.

    Every draw of a trial comes from such a stream named by its step, so no random state needs saving.
    """
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)


def fit(state: TrainState, batches: Batches, schedule: Schedule, seed: int) -> Iterator[StepReport]:
    """Train from where the state stands to the end of the schedule, yielding after each step.

    The caller decides what to record, when to evaluate and when to save; it may stop at any report.
    """
    take_step = step_taker(state, batches.device)
    for step in range(state.step, schedule.epochs * batches.steps_per_epoch):
        waiting = start_lap(batches.device)
        epoch, index = divmod(step, batches.steps_per_epoch)
        rng = rng_for(seed, "step", step)
        batch = batches.batch(epoch, index, rng, decaying=schedule.decays(epoch))
        waiting.stop()
        lap = start_lap(batches.device)
        set_learning_rate(state.optimizers, schedule.rate(epoch))
        losses = take_step(batch, rng)
        lap.stop()
        state.step = step + 1
        yield StepReport(state.step, epoch, losses, lap, waiting)


def step_taker(
    state: TrainState, device: torch.device, recorder: Recorder | None = None
) -> Callable[[Batch, torch.Generator], dict[str, Tensor]]:
    """What takes one step of the state, whenever it is called, in the state's way; it gives `train_step`'s losses.
    Nothing may be loaded or moved afterwards, since a recording keeps the tensors it has met. recorder: what records
    steps where they are to be recorded, else CUDA's."""
    if not state.execution.cuda_graphs:
        return partial(train_step, state.objective, state.optimizers, execution=state.execution)
    compute = partial(compute_step, state.objective, state.optimizers, execution=state.execution)
    recorded = Recorded(compute, device, recorder or CUDARecorder(device))

    def take_step(batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        check_batch(batch, state.objective.shape)
        return recorded(batch, state.objective.draw(len(batch.a), rng))

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
    draws = on_device(objective.draw(len(batch.a), rng), batch.a.device)
    return compute_step(objective, optimizers, batch, draws, execution)


def compute_step(
    objective: Objective, optimizers: Optimizers, batch: Batch, draws: Any, execution: Execution = REFERENCE
) -> dict[str, Tensor]:
    """The device's part of a step, once all draws are made."""
    with arithmetic(execution, batch.a.device):
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
        with arithmetic(execution, batch.a.device):
            losses = objective.losses(phase, batch, fakes)
        torch.stack(list(losses.values())).sum().backward()
        optimizers[phase].step()
        report |= {f"{phase}/{name}": loss.detach() for name, loss in losses.items()}
    return report


def _lay_out_as_weights(optimizer: torch.optim.Optimizer) -> None:
    """Give each moment the layout of its weight: a checkpoint may be of another, and fused Adam takes it on trust."""
    for weight, moments in optimizer.state.items():
        for name, moment in moments.items():
            if moment.shape == weight.shape:
                moments[name] = torch.empty_like(weight).copy_(moment)


def set_learning_rate(optimizers: Optimizers, rate: float) -> None:
    """Give every optimiser the same rate."""
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate


def mean_losses(reports: Sequence[StepReport]) -> dict[str, float]:
    """Each loss averaged over the reports."""
    names = reports[0].losses
    return {name: float(torch.stack([report.losses[name] for report in reports]).mean()) for name in names}
