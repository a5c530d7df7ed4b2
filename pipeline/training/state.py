"""What changes while a trial trains, and for how long it trains."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from models.execution import REFERENCE, Execution
from models.objective import Batch, Objective

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
