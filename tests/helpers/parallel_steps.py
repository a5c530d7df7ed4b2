"""Up to ten steps of each method, alone or as one of several processes.

Importable, since a further process runs them too.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.build import build_objective
from models.configs.cut import CUT, FASTCUT
from models.configs.cyclegan import CYCLEGAN, CycleGANConfig
from models.configs.dclgan import DCLGAN
from models.configs.images import ImageShape
from models.configs.model import ModelConfig
from models.configs.networks import DiscriminatorConfig, GeneratorConfig
from models.configs.sincut import SINCUT, SinCUTConfig, StyleDiscriminatorConfig, StyleGeneratorConfig
from models.contrast.queue import PatchQueue
from models.networks.projector import normalise
from models.objective import ALONE, Batch, Ranks
from pipeline.parallel.group import join_group
from pipeline.training.loop import StepRunner
from pipeline.training.prepared_steps import prepare_step
from pipeline.training.state import TrainState, gradients, make_optimizers

SHORT_QUEUE = replace(CUT.external, warmup=40, queue_size=96, num_negatives=32)
METHODS = {
    "internal": CUT,
    "external": replace(CUT, negatives=("external",), external=SHORT_QUEUE),
    "minibatch": replace(CUT, negatives=("minibatch",)),
    "fastcut": FASTCUT,
    # So small that ten batches fill the pools and get earlier images.
    "cyclegan": replace(CYCLEGAN, pool_size=6),
    "generated": replace(
        CUT,
        negatives=("internal", "generated", "other_domain"),
        generated=replace(CUT.generated, num_negatives=16),
        weighting="hard",
        decoupled=True,
        relation="semantic",
    ),
    # Not 'discriminator': resized scores are equal along the border, and rounding chooses among equals.
    "attention": replace(CUT, queries="attention", weighting="optimal_transport"),
    "dclgan": replace(DCLGAN, negatives=("minibatch", "other_domain")),
    "sincut": SINCUT,
}
STEPS = {torch.float64: 10, torch.float32: 5}
IMAGES, SIDE, SEED = 4, 32, 0
# Patches in each queue before the first step.
FILLED = 48
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Taken:
    """A step: the state before it (as of a checkpoint), its losses, and the gradients of each phase."""

    before: dict[str, Any]
    losses: dict[str, Tensor]
    gradients: dict[str, list[Tensor]]


def state_of(method: str, dtype: torch.dtype, ranks: Ranks = ALONE) -> TrainState:
    """Build a small model of a method, with weights of the seed, and queues that give negatives from the first step on.

    Without any negatives the only gradients of some biases are rounding, which Adam makes a thousand times larger.
    """
    rng = torch.Generator().manual_seed(SEED)
    objective = build_objective(small(METHODS[method]), ImageShape(SIDE, SIDE), rng).to(dtype)
    for module in objective.modules():
        if isinstance(module, PatchQueue):
            module.keys_QD.copy_(normalise(torch.randn(module.keys_QD.shape, generator=rng, dtype=dtype)))
            module.pushed.fill_(FILLED)
    return TrainState(objective, make_optimizers(objective, 2e-4, (0.5, 0.999)), ranks=ranks)


def small(config: ModelConfig) -> ModelConfig:
    """Return the settings with small networks and few patches."""
    if isinstance(config, SinCUTConfig):
        generator, discriminator = StyleGeneratorConfig(1, start_size=SIDE), StyleDiscriminatorConfig(1)
        return replace(config, generator=generator, discriminator=discriminator, projection_units=8)
    config = replace(config, generator=GeneratorConfig(4, 5), discriminator=DiscriminatorConfig(4, 3))
    return config if isinstance(config, CycleGANConfig) else replace(config, num_patches=8, projection_units=8)


def batch_of(step: int, dtype: torch.dtype) -> Batch:
    """Return the whole batch of a step."""
    rng = torch.Generator().manual_seed(1000 + step)
    a, b = 2 * torch.rand(2, IMAGES, 3, SIDE, SIDE, generator=rng, dtype=dtype) - 1
    return Batch(a, b)


def take_step(state: TrainState, step: int, dtype: torch.dtype) -> Taken:
    """Take a step of a state as the training does."""
    before = copy.deepcopy(state.state_dict())
    rng = torch.Generator().manual_seed(step)
    losses = StepRunner(state).run(prepare_step(state, batch_of(step, dtype), rng))
    found = {
        phase: [gradient.clone() for gradient in gradients(optimizer)] for phase, optimizer in state.optimizers.items()
    }
    return Taken(before, losses, found)


def take_steps(method: str, dtype: torch.dtype, ranks: Ranks = ALONE) -> list[Taken]:
    state = state_of(method, dtype, ranks)
    return [take_step(state, step, dtype) for step in range(STEPS[dtype])]


def take_all(ranks: Ranks) -> dict[tuple[str, torch.dtype], list[Taken]]:
    """Take the steps of all methods, in both types of numbers."""
    kinds = [(method, dtype) for dtype in STEPS for method in METHODS]
    return {kind: take_steps(*kind, ranks) for kind in kinds}


def help_taking_all(folder: str, rank: int, size: int, ready: Callable[[], None]) -> None:
    """Do as `take_all` in a further process."""
    torch.set_num_threads(1)
    ready()
    take_all(join_group(Path(folder), rank, size, CPU, 1))
