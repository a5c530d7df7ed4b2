"""How a step is computed: precision, memory layout, and what is kept for the backward pass."""

import collections.abc
from contextlib import contextmanager

import torch
from torch import nn

from models.configs.execution import Execution
from models.networks.discriminator import Discriminator
from models.networks.generator import Generator, ResidualBlock
from models.networks.projector import Projector
from models.networks.stylegan2 import StyleBlock, StyleDiscriminator, StyleGenerator


def apply_execution(objective: nn.Module, execution: Execution) -> None:
    """Change an objective's networks in place so that its steps run as `execution` says.

    SinCUT's discriminator is not compiled: its R1 penalty needs a second derivative, which compiled networks lack.
    Neither are the small networks that generate negatives.
    """
    for module in objective.modules():
        match module:
            case nn.Conv2d() | nn.ConvTranspose2d() if execution.channels_last:
                # A convolution's output has the layout of its weights. Other layers keep the layout of their input.
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
            case StyleGenerator() | StyleDiscriminator():
                module.recompute = execution.recompute
                # Its first convolution is 1 x 1, whose weights do not decide on a layout.
                module.memory_format = torch.channels_last if execution.channels_last else torch.contiguous_format
            case Generator() | ResidualBlock() | Discriminator() | StyleBlock():
                module.recompute = execution.recompute
            case nn.LeakyReLU() if execution.recompute:
                # In place, D's first one would overwrite the input that recomputation needs.
                module.inplace = False
            case _:
                pass
        if execution.compile and isinstance(module, Generator | StyleGenerator | Discriminator | Projector):
            # Shapes are few and known. A kernel for any shape would be slower.
            module.compile(dynamic=False)  # pyright: ignore[reportUnknownMemberType]
            if isinstance(module, Generator | StyleGenerator):
                module.encode = torch.compile(module.encode, dynamic=False)


@contextmanager
def autocast_for(execution: Execution, device: torch.device) -> collections.abc.Generator[None]:
    """Run forward passes in the body in the execution's precision."""
    with torch.autocast(device.type, torch.bfloat16, enabled=execution.precision == "bf16"):
        yield
