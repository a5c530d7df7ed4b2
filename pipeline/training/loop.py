"""The training loop: one step, and the steps of a trial in order."""

import collections.abc
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from models.execution import REFERENCE, Execution, arithmetic
from models.images import to_model_range
from models.objective import Batch, Counts, Objective, check_batch, draw_step, on_device
from pipeline.hardware.timers import Lap, start_lap
from pipeline.hardware.transfer import Packed, pack, unpack
from pipeline.rng import rng_for
from pipeline.training.cuda_graphs import CUDARecorder, Recorded, Recorder
from pipeline.training.prefetch import ahead

Optimizers = Mapping[str, torch.optim.Optimizer]

# How many steps the host may be ahead of a GPU: enough to keep it busy, few enough for the memory that they hold.
MOST_UNFINISHED = 8


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

    def batch(self, epoch: int, index: int, rng: torch.Generator, *, decaying: bool) -> Batch:
        """The index-th batch of an epoch, augmented with draws from rng: on the host, of 8 or 16 bits or in the model's
        range."""
        ...


@dataclass
class TrainState:
    """All that changes while a trial trains, and how its steps are carried out; `step` counts those that are done."""

    objective: Objective
    optimizers: Optimizers
    step: int = 0
    execution: Execution = REFERENCE

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.objective.parameters_of(self.objective.phases[0])[0].device

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


@dataclass(frozen=True)
class PreparedStep:
    """What the host settles of a step: its number and epoch (from 0), the batch and the draws, and the counts of pools
    and queues behind it. For a GPU batch and draws lie in one buffer."""

    step: int
    epoch: int
    arguments: tuple[Batch, Any] | Packed
    counts: Counts


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
        draws, counts = objective.draw(len(batch.a), rng, counts)
        yield PreparedStep(step, epoch, _packed_for(state, batch, draws), counts)


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
        objective.count(prepared.counts)
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
        draws, counts = state.objective.draw(len(batch.a), rng, state.objective.counts)
        return take_prepared(PreparedStep(state.step, 0, _packed_for(state, batch, draws), counts))

    return take_step


def in_model_range(batch: Batch) -> Batch:
    """The batch in float32 and [-1, 1]."""
    return Batch(to_model_range(batch.a), to_model_range(batch.b))


def _packed_for(state: TrainState, batch: Batch, draws: Any) -> tuple[Batch, Any] | Packed:
    """The arguments of a step as its device takes them best: a CPU where they are, a GPU in one copy."""
    if state.device.type == "cuda" or state.execution.cuda_graphs:
        return pack((batch, draws), pinned=state.device.type == "cuda")
    return batch, draws


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
    draws = on_device(draw_step(objective, len(batch.a), rng), batch.a.device)
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


def loss_history(reports: Sequence[StepReport]) -> dict[str, Tensor]:
    """Each loss of the reports (N,), where it is."""
    return {name: torch.stack([report.losses[name] for report in reports]) for name in reports[0].losses}


def mean_losses(history: Mapping[str, Tensor]) -> dict[str, float]:
    """Each loss averaged; waits where the history is on a GPU."""
    return {name: float(losses.mean()) for name, losses in history.items()}
