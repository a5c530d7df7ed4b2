"""Checks of a model's input images, and conversion between 8 or 16 bits and [-1, 1], and between 1 and 3 channels."""

from typing import Literal

import torch
from torch import Tensor

from models.configs.images import LUMA

# Smaller images are too small for the reflection padding inside a generator.
MIN_SIDE = 8


def check_shape(name: str, images: Tensor, channels: int) -> None:
    """Raise ValueError unless a generator with `channels` input channels can take the images (B, C, H, W)."""
    found = f"{name} is {_spelt(images)}"
    if images.dim() != 4 or images.shape[1] != channels:
        raise ValueError(f"{found}; expected (batch, {channels}, height, width)")
    if not images.is_floating_point():
        raise ValueError(f"{found} of {images.dtype}; expected floating point in [-1, 1]")
    if any(extent < MIN_SIDE or extent % 4 != 0 for extent in images.shape[-2:]):
        raise ValueError(f"{found}; height and width must be multiples of 4, at least {MIN_SIDE}")


def check_images(name: str, images: Tensor, channels: int) -> None:
    """Raise ValueError for a wrong shape, or for values that are not finite."""
    check_shape(name, images, channels)
    check_finite(name, images)


def check_finite(name: str, images: Tensor) -> None:
    """Raise ValueError for values that are not finite."""
    finite = torch.isfinite(images)
    if not bool(finite.all()):
        raise ValueError(f"{name} holds {int((~finite).sum())} values that are not finite; expected [-1, 1]")


def to_model_range(images: Tensor) -> Tensor:
    """Convert 8 or 16 bits to float32 in [-1, 1]. Floats are already in that range and stay as they are."""
    return images if images.is_floating_point() else images.float() / (torch.iinfo(images.dtype).max / 2) - 1


def to_bits(images: Tensor, dtype: torch.dtype, by: Literal["round", "truncate"] = "round") -> Tensor:
    """Convert [-1, 1] to uint8 or uint16: to the nearest value, or to the next lower one.

    Truncated 8 bits are the reference code's (`tensor2im`): (x + 1) / 2 * 255, without its fraction.
    """
    levels = (images.clamp(-1, 1) + 1) * (torch.iinfo(dtype).max / 2)
    return (levels.round() if by == "round" else levels.trunc()).to(dtype)


def with_channels(images: Tensor, count: int) -> Tensor:
    """Give images (B, 1 or 3, H, W) `count` channels: repeat gray, or weigh colours by `LUMA`."""
    match images.shape[1], count:
        case found, wanted if found == wanted:
            return images
        case 1, 3:
            return images.expand(-1, 3, -1, -1)
        case 3, 1:
            red, green, blue = (weight * channel for weight, channel in zip(LUMA, images.chunk(3, 1), strict=True))
            return red + green + blue
        case _:
            raise ValueError(f"images are {_spelt(images)}; only 1 and 3 channels convert into each other")


def _spelt(images: Tensor) -> str:
    return f"({', '.join(map(str, images.shape))})"
