"""The PatchGAN discriminator."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.configs.networks import DiscriminatorConfig
from models.networks.layers import BlurDown, InstanceNorm, run_layers


class Discriminator(nn.Module):
    """Scores overlapping patches: (B, C, H, W) -> (B, 1, H', W'). Higher is more real (Isola et al., CVPR 2017).

    With three layers a score sees 70 x 70 pixels. recompute: see `run_layers`.
    """

    recompute = False

    def __init__(self, config: DiscriminatorConfig, in_channels: int = 3) -> None:
        super().__init__()
        self.config = config
        widths = [config.channels * min(2**layer, 8) for layer in range(config.layers + 1)]
        layers: list[nn.Module] = [*_halving(in_channels, widths[0], config.antialias, norm=False)]
        for inputs, outputs in pairwise(widths[:-1]):
            layers += _halving(inputs, outputs, config.antialias, norm=True)
        layers += [
            nn.Conv2d(widths[-2], widths[-1], 4, padding=1),
            InstanceNorm(),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(widths[-1], 1, 4, padding=1),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        return run_layers(list(self.layers), image, recompute=self.recompute)


def score(discriminator: Discriminator, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Score real and fake images (B, C, H, W) in one pass. The generator of the fakes gets no gradient."""
    scores = discriminator(torch.cat([real, fake.detach()]))
    return scores[: len(real)], scores[len(real) :]


def _halving(inputs: int, outputs: int, antialias: bool, *, norm: bool) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 4, stride=1 if antialias else 2, padding=1),
        *([InstanceNorm()] if norm else []),
        nn.LeakyReLU(0.2, inplace=True),
        *([BlurDown(outputs)] if antialias else []),
    ]
