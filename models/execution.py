"""How a step is carried out: in which arithmetic and layout, and what is kept for its backward pass."""

import collections.abc
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from models.discriminator import Discriminator
from models.generator import Generator, ResidualBlock
from models.projector import Projector


@dataclass(frozen=True)
class Execution:
    """The defaults are the exact reference; but for bf16, all others give the same values up to float32's rounding.

    precision: of the networks' convolutions and products, and of what lies between them; losses, the statistics of
    norms, NCE's logits, weights and optimisers are float32's always. channels_last: the layout of features in memory.
    recompute: what is cheap is computed again in the backward pass instead of kept for it (`models.layers.run_layers`).
    compile: each network by torch.compile, once for each shape; translating for evaluation stays as it is. cuda_graphs:
    a whole step is one launch (`pipeline.training.cuda_graphs`).
    """

    precision: Literal["float32", "bf16"] = "float32"
    channels_last: bool = False
    recompute: bool = False
    compile: bool = False
    cuda_graphs: bool = False

    @property
    def switches(self) -> list[str]:
        """What differs from the reference beside the precision, in words."""
        words = {
            "channels_last": "channels last",
            "recompute": "with recomputation",
            "compile": "compiled",
            "cuda_graphs": "as CUDA graphs",
        }
        return [word for name, word in words.items() if getattr(self, name)]


REFERENCE = Execution()


def apply_execution(objective: nn.Module, execution: Execution) -> None:
    """Make an objective's networks, in place, such that its steps are carried out so."""
    for module in objective.modules():
        match module:
            case nn.Conv2d() | nn.ConvTranspose2d() if execution.channels_last:
                # A convolution answers in its weights' layout, and what lies between two in the one it is given.
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
            case Generator() | ResidualBlock() | Discriminator():
                module.recompute = execution.recompute
            case nn.LeakyReLU() if execution.recompute:
                # D's first one would overwrite what it is recomputed from.
                module.inplace = False
            case _:
                pass
        if execution.compile and isinstance(module, Generator | Discriminator | Projector):
            # Shapes are few and known: a kernel for any shape would be slower for each.
            module.compile(dynamic=False)  # pyright: ignore[reportUnknownMemberType]
            if isinstance(module, Generator):
                module.encode = torch.compile(module.encode, dynamic=False)


@contextmanager
def autocast_for(execution: Execution, device: torch.device) -> collections.abc.Generator[None]:
    """Forward passes in the body compute in the execution's precision."""
    with torch.autocast(device.type, torch.bfloat16, enabled=execution.precision == "bf16"):
        yield
