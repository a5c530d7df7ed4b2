"""Score how many edges of an input its translation keeps: the agreement of their normalised gradient fields.

Normalised gradient fields: Haber and Modersitzki, Methods of Information in Medicine 46, 2007. They were made to align
images of different kinds, so they ask where edges are and which way they run, not how strong they are.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.images import with_channels

# The deviation of the smoothing, as a part of the shorter side. Patterns of surfaces are finer, outlines are not.
SMOOTHING = 1 / 16
# Levels per pixel. A smaller mean gradient is the rounding of an image without edges.
LEAST_GRADIENT = 1e-3


def edges_kept(sources: Tensor, outputs: Tensor) -> Tensor:
    """Return from 0 to 1 how far the edges of 8-bit images (B, 3, H, W) agree in place and direction: (B).

    It is the sum of (n_1 · n_2)² over pixels, divided by that of two equal fields (the geometric mean of both). An
    image without edges agrees only with another one.
    """
    one, two = _normalised_gradients(sources), _normalised_gradients(outputs)
    overlap = (one * two).sum(1).square().sum((1, 2))
    square_1, square_2 = (field.square().sum(1).square().sum((1, 2)) for field in (one, two))
    largest = (square_1 * square_2).sqrt()
    neither_has_edges = (square_1 + square_2 == 0).float()
    return torch.where(largest > 0, overlap / largest, neither_has_edges)


def _normalised_gradients(images: Tensor) -> Tensor:
    """Return g / sqrt(|g|² + e²) of the smoothed brightness's gradient g, with its mean length e: (B, 2, H-2, W-2)."""
    smooth = _smoothed(with_channels(images.float(), 1))
    gradient = torch.cat(
        [
            (smooth[..., 1:-1, 2:] - smooth[..., 1:-1, :-2]) / 2,
            (smooth[..., 2:, 1:-1] - smooth[..., :-2, 1:-1]) / 2,
        ],
        dim=1,
    )
    squared = gradient.square().sum(1, keepdim=True)
    mean = squared.sqrt().mean((2, 3), keepdim=True)
    normalised = gradient / (squared + mean.square()).sqrt()
    return torch.where(mean > LEAST_GRADIENT, normalised, 0.0)


def _smoothed(gray: Tensor) -> Tensor:
    """Convolve images (B, 1, H, W) with a Gaussian, whose deviation is a part of the shorter side."""
    deviation = SMOOTHING * min(gray.shape[-2:])
    radius = round(3 * deviation)
    offsets = torch.arange(-radius, radius + 1, device=gray.device)
    kernel = torch.exp(-offsets.square() / (2 * deviation**2))
    kernel = kernel / kernel.sum()
    padded = F.pad(gray, (radius, radius, radius, radius), mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None])
