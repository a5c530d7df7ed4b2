"""How a step is computed: precision, memory layout, and what is kept for the backward pass."""

import collections.abc
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from models.networks.discriminator import Discriminator
from models.networks.generator import Generator, ResidualBlock
from models.networks.projector import Projector


@dataclass(frozen=True)
class Execution:
    """The defaults are the exact reference. All other settings but bf16 change values only by float32's rounding.

    precision: of the networks' convolutions and products, and of the layers between them. Losses, statistics of norms,
        NCE's logits, weights and optimisers stay in float32.
    channels_last: the memory layout of features.
    recompute: cheap layers run again in the backward pass; their outputs are not kept (`networks.layers.run_layers`).
    compile: torch.compile compiles each network, once per shape. Translation for evaluation is not compiled.
    cuda_graphs: a whole step is one launch (`pipeline.training.cuda_graphs`).
    """

    precision: Literal["float32", "bf16"] = "float32"
    channels_last: bool = False
    recompute: bool = False
    compile: bool = False
    cuda_graphs: bool = False

    @property
    def switches(self) -> list[str]:
        """Name the settings that differ from the reference, without the precision."""
        words = {
            "channels_last": "channels last",
            "recompute": "with recomputation",
            "compile": "compiled",
            "cuda_graphs": "as CUDA graphs",
        }
        return [word for name, word in words.items() if getattr(self, name)]


REFERENCE = Execution()


def apply_execution(objective: nn.Module, execution: Execution) -> None:
    """Change an objective's networks in place so that its steps run as `execution` says."""
    for module in objective.modules():
        match module:
            case nn.Conv2d() | nn.ConvTranspose2d() if execution.channels_last:
                # A convolution's output has the layout of its weights. Other layers keep the layout of their input.
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
            case Generator() | ResidualBlock() | Discriminator():
                module.recompute = execution.recompute
            case nn.LeakyReLU() if execution.recompute:
                # In place, D's first one would overwrite the input that recomputation needs.
                module.inplace = False
            case _:
                pass
        if execution.compile and isinstance(module, Generator | Discriminator | Projector):
            # Shapes are few and known. A kernel for any shape would be slower.
            module.compile(dynamic=False)  # pyright: ignore[reportUnknownMemberType]
            if isinstance(module, Generator):
                module.encode = torch.compile(module.encode, dynamic=False)


@contextmanager
def autocast_for(execution: Execution, device: torch.device) -> collections.abc.Generator[None]:
    """Run forward passes in the body in the execution's precision."""
    with torch.autocast(device.type, torch.bfloat16, enabled=execution.precision == "bf16"):
        yield
