"""StyleGAN2's layers as SinCUT's released code has them: blur, and weights that are scaled when they are used.

An activated layer stands before `activation`. Its output, weights and bias, has the gain sqrt(2) of the activation
already: a leaky ReLU of a multiple is the multiple of the leaky ReLU. So the activation works in place.

Source: Karras et al. (CVPR 2020).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GAIN, SLOPE = math.sqrt(2), 0.2
EPSILON = 1e-8


def activation() -> nn.Module:
    """Return the leaky ReLU that follows an activated layer."""
    return nn.LeakyReLU(SLOPE, inplace=True)


class Blur(nn.Module):
    """Filter with [1, 3, 3, 1] along both axes: (B, C, H, W) -> (B, C, H', W'), H' = (H + 2 padding - 4) // stride + 1.

    Pads with zeros. total: the sum of the filter's values.
    """

    kernel: Tensor

    def __init__(self, padding: int, stride: int = 1, total: float = 1.0) -> None:
        super().__init__()
        self.padding, self.stride = padding, stride
        row = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.register_buffer("kernel", total * row[:, None] * row[None, :] / 64)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        kernels = self.kernel.to(x.dtype).expand(channels, 1, -1, -1)
        return F.conv2d(x, kernels, stride=self.stride, padding=self.padding, groups=channels)


class ScaledConv(nn.Conv2d):
    """A convolution whose weights are divided by sqrt(inputs x kernel^2). Keeps the size unless padding is given.

    activated: it has a bias, which the released code's files keep with the activation as (1, C, 1, 1).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int | None = None,
        activated: bool = True,
    ) -> None:
        padding = kernel // 2 if padding is None else padding
        super().__init__(inputs, outputs, kernel, stride, padding, bias=False)  # pyright: ignore[reportUnknownMemberType]
        self.gain = GAIN if activated else 1.0
        if activated:
            self.bias = nn.Parameter(torch.zeros(1, outputs, 1, 1))

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight * (self.gain / math.sqrt(self.weight[0].numel()))
        bias = None if self.bias is None else self.gain * self.bias.flatten()
        return self._conv_forward(input, weight, bias)


class ScaledLinear(nn.Linear):
    """A linear layer whose weights are divided by sqrt(inputs)."""

    def __init__(self, inputs: int, outputs: int, *, activated: bool) -> None:
        super().__init__(inputs, outputs)  # pyright: ignore[reportUnknownMemberType]
        self.gain = GAIN if activated else 1.0

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight * (self.gain / math.sqrt(self.in_features))
        return F.linear(input, weight, self.gain * self.bias)


class DoublingConv(nn.Module):
    """Double the size and add noise: (B, inputs, H, W) and noise (B or 1, 1, 2H, 2W) -> (B, outputs, 2H, 2W).

    A transposed 3 x 3 convolution whose filters are divided by their lengths, a blur, noise times one weight, and the
    activation. weight is (1, outputs, inputs, 3, 3), as in the released code's files.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, outputs, inputs, 3, 3))
        self.noise_weight = nn.Parameter(torch.zeros(1))
        self.bias = nn.Parameter(torch.zeros(1, outputs, 1, 1))
        self.blur = Blur(padding=1, total=4.0)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        scaled = self.weight[0] / math.sqrt(self.weight[0, 0].numel())
        filters = GAIN * scaled * torch.rsqrt(scaled.square().sum((1, 2, 3), keepdim=True) + EPSILON)
        doubled = self.blur(F.conv_transpose2d(x, filters.transpose(0, 1), stride=2))
        noise, bias = ((GAIN * part).to(doubled.dtype) for part in (self.noise_weight * noise, self.bias))
        return F.leaky_relu(doubled + noise + bias, SLOPE, inplace=True)


def initialise_scaled(network: nn.Module, rng: torch.Generator) -> None:
    """Sample every weight from N(0, 1). Biases and the weight of noise become 0."""
    for module in network.modules():
        if isinstance(module, ScaledConv | ScaledLinear | DoublingConv):
            nn.init.normal_(module.weight, generator=rng)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, DoublingConv):
            nn.init.zeros_(module.noise_weight)
