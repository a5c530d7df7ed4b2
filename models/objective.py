"""What a trainer needs of a model, whichever it is."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Batch:
    """Unpaired images of both domains, each (B, 3, H, W) in [-1, 1]."""

    a: Tensor
    b: Tensor


class Objective(Protocol):
    """A model with its losses.

    All that is random or stateful happens in `generate`; `losses` is pure and names weighted losses whose
    sum is what the phase minimises.
    """

    @property
    def phases(self) -> tuple[str, ...]:
        """The names of the phases of a step, in the order in which they update."""
        ...

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """What the phase's optimiser updates."""
        ...

    def generate(self, batch: Batch, rng: torch.Generator) -> Any:
        """Translate the batch and make every draw of the step."""
        ...

    def losses(self, phase: str, batch: Batch, fakes: Any) -> dict[str, Tensor]:
        """The phase's losses, weighted, by name."""
        ...

    def translate(self, image: Tensor) -> Tensor:
        """Images of A (B, 3, H, W) in [-1, 1] as images of B, without a graph."""
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


@contextmanager
def frozen(*networks: nn.Module) -> Generator[None]:
    """Keep the networks' parameters out of the graph; gradients still flow through to their inputs."""
    parameters = [parameter for network in networks for parameter in network.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
