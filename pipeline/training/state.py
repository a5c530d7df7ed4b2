"""The state that training changes, how it is built, and the learning rate."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.build import build_objective
from models.configs.execution import REFERENCE, Execution
from models.execution import apply_execution
from models.objective import ALONE, Objective, Ranks
from pipeline.config.schema import Config, TrainConfig
from pipeline.hardware.memory import tensors_in
from pipeline.rng import rng_for
from pipeline.training.execution import resolve_execution

Optimizers = Mapping[str, torch.optim.Optimizer]


def learning_rate(train: TrainConfig, epoch: int) -> float:
    """Return the learning rate of an epoch (from 0).

    It is constant for `constant_epochs`. Then it falls linearly over `decay_epochs`, once per epoch. It is above 0 in
    the last one, as in the reference code.
    """
    decayed = max(0, epoch + 1 - train.constant_epochs)
    return train.learning_rate * (1 - decayed / (train.decay_epochs + 1))


@dataclass
class TrainState:
    """All that training changes, how steps are executed, and the processes that take them together.

    step: the number of finished steps.
    """

    objective: Objective
    optimizers: Optimizers
    step: int = 0
    execution: Execution = REFERENCE
    ranks: Ranks = ALONE

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.objective.parameters_of(self.objective.phases[0])[0].device

    def state_dict(self) -> dict[str, Any]:
        optimizers = {phase: optimizer.state_dict() for phase, optimizer in self.optimizers.items()}
        return {"step": self.step, "objective": self.objective.state_dict(), "optimizers": optimizers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.objective.load_state_dict(state["objective"])
        for phase, optimizer in self.optimizers.items():
            # Only the moments: groups are settings, and the checkpoint may come from another execution.
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state["optimizers"][phase]["state"]})
            _lay_out_as_weights(optimizer)
        self.step = state["step"]


def held_tensors(state: TrainState) -> list[Tensor]:
    """Return the tensors that stay between two steps: networks, the optimisers' state, gradients."""
    return tensors_in([state.state_dict(), [gradients(optimizer) for optimizer in state.optimizers.values()]])


def gradients(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Return the gradients of the weights that the optimiser updates, as far as there are any."""
    weights = (weight for group in optimizer.param_groups for weight in group["params"])
    return [weight.grad for weight in weights if weight.grad is not None]


def build_state(config: Config, device: torch.device, execution: Execution | None = None) -> TrainState:
    """Build a trial's networks, initialised from its seed, and their optimisers. execution: by default the trial's."""
    objective = build_objective(config.model, config.data.shape, rng_for(config.seed, "weights"))
    execution = execution or resolve_execution(config.train, device.type)
    apply_execution(objective, execution)
    objective.to(device)
    betas = (config.train.beta1, config.train.beta2)
    optimizers = make_optimizers(objective, config.train.learning_rate, betas, execution)
    return TrainState(objective, optimizers, execution=execution)


def make_optimizers(
    objective: Objective, learning_rate: float, betas: tuple[float, float], execution: Execution = REFERENCE
) -> dict[str, torch.optim.Adam]:
    """Make one fused Adam per phase: it updates all weights of the phase in one pass."""
    optimizers: dict[str, torch.optim.Adam] = {}
    for phase in objective.phases:
        weights = objective.parameters_of(phase)
        # As a tensor, because a recorded step reads the rate from the same memory each time.
        rate = torch.tensor(learning_rate, device=weights[0].device) if execution.cuda_graphs else learning_rate
        optimizers[phase] = torch.optim.Adam(
            weights, lr=rate, betas=betas, fused=True, capturable=execution.cuda_graphs
        )
    return optimizers


def _lay_out_as_weights(optimizer: torch.optim.Optimizer) -> None:
    """Give each moment the memory layout of its weight. Fused Adam needs this, and a checkpoint may have another."""
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
