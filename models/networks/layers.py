"""Blur pooling, its inverse, normalisation and initialisation, as in the reference code.

Each layer takes images channels first or channels last. Its output has the same layout, and it uses the operation that
is fast for it (docs/performance.md).
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint  # pyright: ignore[reportUnknownVariableType]

EPSILON = 1e-5


class BlurDown(nn.Module):
    """Halve the size after a 3 x 3 binomial filter (Zhang, ICML 2019), with reflection padding.

    (B, C, H, W) -> (B, C, ceil(H / 2), ceil(W / 2)).
    """

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("filt", _binomial([1.0, 2.0, 1.0]).repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
        filt = self.filt.to(x.dtype)
        if _by_pixels(x):
            return _BlurChannelsLast.apply(padded, filt)  # pyright: ignore[reportUnknownMemberType]
        return F.conv2d(padded, filt, stride=2, groups=self.channels)


class BlurUp(nn.Module):
    """Double the size with a 4 x 4 binomial filter, with replication padding.

    (B, C, H, W) -> (B, C, 2 H, 2 W).
    """

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("filt", 4 * _binomial([1.0, 3.0, 3.0, 1.0]).repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        if is_channels_last(x) or torch.compiler.is_compiling():
            # The same filter and border. The compiler computes a wrong gradient of replication padding.
            return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
        # Padding 3 of the transposed convolution removes the replicated border from the output.
        return F.conv_transpose2d(padded, self.filt.to(x.dtype), stride=2, padding=3, groups=self.channels)


class InstanceNorm(nn.Module):
    """Normalise each channel of each image (B, C, H, W) by its own mean and variance, without parameters or buffers.

    Layer normalisation over (H, W) is the same function, and so is batch normalisation of one image. torch's own
    instance norm is not used: on the CPU its backward pass is wrong for a single image whose gradient arrives
    channels-last (docs/decisions.md). Statistics are in float32 or wider.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not _by_pixels(x):
            return F.layer_norm(x, x.shape[-2:], eps=EPSILON)
        # Without a float32 scale, the statistics of bf16 images would be in bf16.
        one = torch.ones(x.shape[1], device=x.device, dtype=float32_or_wider(x.dtype))
        normalise = partial(F.batch_norm, running_mean=None, running_var=None, weight=one, training=True, eps=EPSILON)
        if len(x) == 1:
            return normalise(x)
        # Chunks, because the gradient of a slice is channels first.
        return torch.cat([normalise(image) for image in x.chunk(len(x))])


def run_layers(layers: Sequence[nn.Module], x: Tensor, *, recompute: bool) -> Tensor:
    """Run the layers in order.

    recompute: layers without weights are cheap. Their outputs between two convolutions are not kept for the backward
    pass, which computes them again from the output of the first convolution.
    """
    if not (recompute and torch.is_grad_enabled()):
        return _in_turn(layers, x)
    for group in _between_convolutions(layers):
        # Recomputation stops as soon as it has what the backward pass needs: before the convolution.
        x = checkpoint(_in_turn, group, x, use_reentrant=False, preserve_rng_state=False) if group[1:] else group[0](x)
    return x


def _between_convolutions(layers: Iterable[nn.Module]) -> Iterator[list[nn.Module]]:
    """Yield each convolution with the layers before it. A residual block is alone: it recomputes its own layers."""
    group: list[nn.Module] = []
    for layer in layers:
        if group and _has_weights(layer) and not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            yield group
            group = []
        group.append(layer)
        if _has_weights(layer):
            yield group
            group = []
    if group:
        yield group


def _in_turn(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    casting = torch.is_autocast_enabled(x.device.type)
    for layer in layers:
        if casting and not _has_weights(layer):
            # Autocast would run some of these in float32, and other ones on other devices.
            with torch.autocast(x.device.type, enabled=False):
                x = layer(x)
        else:
            x = layer(x)
    return x


def _has_weights(layer: nn.Module) -> bool:
    return next(layer.parameters(), None) is not None


def float32_or_wider(dtype: torch.dtype) -> torch.dtype:
    """Return the type in which results of autocast are kept: float32 for narrower ones, else the type itself."""
    return torch.promote_types(dtype, torch.float32)


def is_channels_last(x: Tensor) -> bool:
    """Whether the memory layout of x (B, C, H, W) is channels last, and not channels first."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _by_pixels(x: Tensor) -> bool:
    """Whether x needs the operation for channels last. The compiler makes one from torch's own operations."""
    return is_channels_last(x) and not torch.compiler.is_compiling()


def initialise(network: nn.Module, rng: torch.Generator) -> None:
    """Set every weight by Xavier's normal with gain 0.02, and every bias to 0 (the reference code's default)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_normal_(module.weight, gain=0.02, generator=rng)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class _BlurChannelsLast(torch.autograd.Function):
    """The convolution of `BlurDown`. It keeps nothing for its gradient, and computes it by linear interpolation.

    Per axis, each gradient value goes to its own position in full and to both neighbours by half. That is the linear
    interpolation of a map between zeros. torch's gradient of such a convolution takes ten times as long in bf16.
    """

    @staticmethod
    def forward(ctx: Any, padded: Tensor, filt: Tensor) -> Tensor:
        ctx.size = padded.shape[-2:]
        return F.conv2d(padded, filt, stride=2, groups=len(filt))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        between_zeros = F.pad(gradient / 4, (1, 1, 1, 1))
        size = [2 * extent - 1 for extent in between_zeros.shape[-2:]]
        whole = F.interpolate(between_zeros, size=size, mode="bilinear", align_corners=True)
        # For an even size, the filter does not use the last row. The interpolation's last row is zeros.
        height, width = ctx.size
        return whole[..., 1 : 1 + height, 1 : 1 + width], None


def _binomial(taps: list[float]) -> Tensor:
    row = torch.tensor(taps)
    kernel = row[:, None] * row[None, :]
    return (kernel / kernel.sum())[None, None]
