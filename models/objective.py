"""What a trainer needs of a model, whichever it is."""

import collections.abc
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import register_dataclass, tree_map_only

from models.configs import ImageShape
from models.images import check_finite, check_shape
from models.networks.generator import Generator


@dataclass(frozen=True)
class Batch:
    """Unpaired images of both domains, each (B, C, H, W) in [-1, 1]."""

    a: Tensor
    b: Tensor


register_dataclass(Batch)

# How many images a pool and patches a queue have been given, by its name.
Counts = Mapping[str, int]


def on_device(draws: Any, device: torch.device) -> Any:
    """The draws of a step with their tensors on the device."""
    return tree_map_only(Tensor, lambda tensor: tensor.to(device, non_blocking=True), draws)


def check_batch(batch: Batch, shape: ImageShape) -> None:
    """Raise ValueError, naming the domain, for images that a model of that shape cannot train on. Whether their values
    are finite is asked on a CPU alone."""
    check_shape("a", batch.a, shape.channels_a)
    check_shape("b", batch.b, shape.channels_b)
    if len(batch.a) != len(batch.b):
        raise ValueError(f"a holds {len(batch.a)} images and b holds {len(batch.b)}; expected as many of both")
    for name, images in (("a", batch.a), ("b", batch.b)):
        if images.shape[-2:] != (shape.height, shape.width):
            raise ValueError(
                f"{name} is of {images.shape[-2]} x {images.shape[-1]}; expected {shape.height} x {shape.width}"
            )
    if batch.a.untyped_storage().device.type != "cpu":
        # A stand-in without values, or a device that the host would wait for; there a loss tells.
        return
    check_finite("a", batch.a)
    check_finite("b", batch.b)


class Objective(Protocol):
    """A model with its losses.

    All that is random or counted happens on the host, in `draw`, which changes nothing: so steps can be drawn ahead.
    `generate` and `losses` are the device's: they ask it for nothing and give it nothing but their arguments, so that
    their operations can be recorded and done again.
    """

    shape: ImageShape

    @property
    def phases(self) -> tuple[str, ...]:
        """The names of the phases of a step, in the order in which they update."""
        ...

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """What the phase's optimiser updates."""
        ...

    @property
    def counts(self) -> Counts:
        """What pools and queues have been given in the steps so far."""
        ...

    def sample_randomness(self, size: int, rng: torch.Generator, counts: Counts) -> tuple[Any, Counts]:
        """Draw a step over so many images of each domain, after steps that left these counts; the counts after it.

        Draws are made on the CPU, so that a seed means the same on every device. They include the slots of pools and
        queues that the step will fill.
        """
        ...

    def set_counts(self, counts: Counts) -> None:
        """Keep the counts of a step that is taken now."""
        ...

    def generate(self, batch: Batch, draws: Any) -> Any:
        """Translate the batch with these draws, which lie on its device, and fill the slots."""
        ...

    def losses(self, phase: str, batch: Batch, fakes: Any) -> dict[str, Tensor]:
        """The phase's losses, weighted, by name; their sum is what the phase minimises. Changes nothing."""
        ...

    @property
    def translator(self) -> Generator:
        """The generator that makes images of B from images of A."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All tensors that training changes: networks, pools, queues, momentum copies."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Put back what `state_dict` gave."""
        ...

    def to(self, device: torch.device) -> Any:
        """Move every tensor to the device, in place."""
        ...


def sample_step(objective: Objective, size: int, rng: torch.Generator) -> Any:
    """The draws of the next step, which is counted as taken."""
    draws, counts = objective.sample_randomness(size, rng, objective.counts)
    objective.set_counts(counts)
    return draws


@contextmanager
def frozen(*networks: nn.Module) -> collections.abc.Generator[None]:
    """Keep the networks' parameters out of the graph; gradients still flow through to their inputs."""
    parameters = [parameter for network in networks for parameter in network.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
