"""Blur pooling, its inverse, normalisation and initialisation, as the reference code has them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BlurDown(nn.Module):
    """Halve the size behind a 3 x 3 binomial filter (Zhang, ICML 2019), reflecting at the border.

    (B, C, H, W) -> (B, C, ceil(H / 2), ceil(W / 2)).
    """

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("filt", _binomial([1.0, 2.0, 1.0]).repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), self.filt, stride=2, groups=self.channels)


class BlurUp(nn.Module):
    """Double the size with a 4 x 4 binomial filter, replicating the border.

    (B, C, H, W) -> (B, C, 2 H, 2 W).
    """

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("filt", 4 * _binomial([1.0, 3.0, 3.0, 1.0]).repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
        # Padding 3 of the transposed convolution trims the replicated border's share of the output.
        return F.conv_transpose2d(padded, self.filt, stride=2, padding=3, groups=self.channels)


class InstanceNorm(nn.Module):
    """Normalise each channel of each image (B, C, H, W) by its own mean and variance; nothing learned, nothing kept.

    Layer normalisation over (H, W) is the same function. torch's own instance norm is not used: on the CPU its
    backward pass is wrong for a single image whose gradient arrives channels-last (docs/decisions.md).
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-2:], eps=1e-5)


def initialise(network: nn.Module, rng: torch.Generator) -> None:
    """Xavier's normal with gain 0.02 for every weight, zero for every bias (the reference's default)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_normal_(module.weight, gain=0.02, generator=rng)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _binomial(taps: list[float]) -> Tensor:
    row = torch.tensor(taps)
    kernel = row[:, None] * row[None, :]
    return (kernel / kernel.sum())[None, None]
