"""The interface between the training loop and a model."""

import collections.abc
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import register_dataclass, tree_map_only

from models.configs.images import ImageShape
from models.images import check_finite, check_shape
from models.networks.any_generator import AnyGenerator


@dataclass(frozen=True)
class Batch:
    """Unpaired images of both domains, each (B, C, H, W) in [-1, 1]."""

    a: Tensor
    b: Tensor


register_dataclass(Batch)


def _gather_alone(part: Tensor) -> Tensor:
    return part


def _average_alone(tensors: Sequence[Tensor]) -> None:
    """Change nothing."""


@dataclass(frozen=True)
class Ranks:
    """The processes that take each step together, every one with an equal part of the batch's images.

    Their weights are equal, and so are their pools and queues, which hold what the whole batch gives. A step's
    randomness is that of the whole batch too, in every process.

    rank: the number of this process. size: how many there are. gather: returns the parts (B / size, ...) of all
    processes, in their order, as one tensor (B, ...) without gradient. average: replaces tensors, in place, by their
    means over the processes. Every process must call the same functions in the same order.
    """

    rank: int = 0
    size: int = 1
    gather: Callable[[Tensor], Tensor] = _gather_alone
    average: Callable[[Sequence[Tensor]], None] = _average_alone

    def own(self, whole: Tensor) -> Tensor:
        """Return this process's part of what a whole batch has (B, ...)."""
        return whole if self.size == 1 else whole.chunk(self.size)[self.rank]

    def others(self, part: Tensor) -> Tensor:
        """Return the parts of the other processes (B - B / size, ...), without gradient."""
        parts = self.gather(part).chunk(self.size)
        return torch.cat([*parts[: self.rank], *parts[self.rank + 1 :]])


ALONE = Ranks()

# How many images each pool, and patches each queue, was given, by its name.
Counts = Mapping[str, int]


def on_device(randomness: Any, device: torch.device) -> Any:
    """Return a step's randomness with its tensors on the device."""
    return tree_map_only(Tensor, lambda tensor: tensor.to(device, non_blocking=True), randomness)


def check_batch(batch: Batch, shape: ImageShape) -> None:
    """Raise ValueError, naming the domain, for images that a model of that shape cannot train on. Values are checked
    only on the CPU: they must be finite."""
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
        # A tensor without values, or on a device, for which the host would wait. There the losses become NaN.
        return
    check_finite("a", batch.a)
    check_finite("b", batch.b)


class Objective(Protocol):
    """A model with its losses.

    `sample_randomness` runs on the host. It decides all that is random or counted, and changes nothing, so steps can be
    prepared ahead. `generate` and `losses` run on the device. They copy nothing between host and device, so a CUDA
    graph can record their operations.
    """

    shape: ImageShape

    @property
    def phases(self) -> tuple[str, ...]:
        """The names of a step's phases, in the order of their updates."""
        ...

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """Return what the phase's optimiser updates."""
        ...

    @property
    def counts(self) -> Counts:
        """What pools and queues were given in the steps so far."""
        ...

    def sample_randomness(
        self, size: int, rng: torch.Generator, counts: Counts, progress: float = 0.0
    ) -> tuple[Any, Counts]:
        """Sample all that is random in a step over `size` images of each domain. Return it, and the counts after it.

        counts: those before the step. progress: 0 in the first epoch, 1 in the last one. Sampling runs on the CPU, so a
        seed means the same on every device. It includes the slots of pools and queues that the step will fill.
        """
        ...

    def set_counts(self, counts: Counts) -> None:
        """Set the counts: those after the step that runs now."""
        ...

    def generate(self, batch: Batch, randomness: Any, ranks: Ranks = ALONE) -> Any:
        """Translate the batch and fill the slots. The randomness is on the batch's device.

        ranks: processes that share the step. Then `batch` is this process's part; the randomness is of the whole batch.
        """
        ...

    def losses(self, phase: str, batch: Batch, fakes: Any) -> dict[str, Tensor]:
        """Return the phase's weighted losses by name. The phase minimises their sum. Changes nothing."""
        ...

    @property
    def translator(self) -> AnyGenerator:
        """The generator from A to B."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all tensors that training changes: networks, pools, queues, momentum copies."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Load what `state_dict` returned."""
        ...

    def to(self, device: torch.device) -> Any:
        """Move every tensor to the device, in place."""
        ...


def sample_step(objective: Objective, size: int, rng: torch.Generator) -> Any:
    """Sample the randomness of the next step, and set the counts to those after it."""
    randomness, counts = objective.sample_randomness(size, rng, objective.counts)
    objective.set_counts(counts)
    return randomness


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
