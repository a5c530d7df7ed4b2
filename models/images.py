"""The images a model is given: what is refused, and from one channel to three and back."""

import torch
from torch import Tensor

# The weights of red, green and blue in a gray value (ITU-R BT.601), as Pillow's mode 'L' has them.
LUMA = (0.299, 0.587, 0.114)
# Smaller images leave no room for the reflected borders inside a generator.
MIN_SIDE = 8


def check_shape(name: str, images: Tensor, channels: int) -> None:
    """Raise ValueError unless a generator of so many input channels can take the images (B, C, H, W)."""
    found = f"{name} is {_spelt(images)}"
    if images.dim() != 4 or images.shape[1] != channels:
        raise ValueError(f"{found}; expected (batch, {channels}, height, width)")
    if not images.is_floating_point():
        raise ValueError(f"{found} of {images.dtype}; expected floating point in [-1, 1]")
    if any(extent < MIN_SIDE or extent % 4 != 0 for extent in images.shape[-2:]):
        raise ValueError(f"{found}; height and width must survive two halvings: multiples of 4, at least {MIN_SIDE}")


def check_images(name: str, images: Tensor, channels: int) -> None:
    """Raise ValueError for a shape that cannot be, or for values that are not finite."""
    check_shape(name, images, channels)
    check_finite(name, images)


def check_finite(name: str, images: Tensor) -> None:
    """Raise ValueError for values that are not finite."""
    finite = torch.isfinite(images)
    if not bool(finite.all()):
        raise ValueError(f"{name} holds {int((~finite).sum())} values that are not finite; expected [-1, 1]")


def to_model_range(images: Tensor) -> Tensor:
    """8 or 16 bits -> float32 in [-1, 1]. Floats are in that range already."""
    return images if images.is_floating_point() else images.float() / (torch.iinfo(images.dtype).max / 2) - 1


def to_bits(images: Tensor, dtype: torch.dtype) -> Tensor:
    """[-1, 1] -> uint8 or uint16, rounded to the nearest as a PNG would hold it."""
    return ((images.clamp(-1, 1) + 1) * (torch.iinfo(dtype).max / 2)).round().to(dtype)


def with_channels(images: Tensor, count: int) -> Tensor:
    """Images (B, 1 or 3, H, W) with `count` channels: gray repeated, or colours weighed as the eye does."""
    match images.shape[1], count:
        case found, wanted if found == wanted:
            return images
        case 1, 3:
            return images.expand(-1, 3, -1, -1)
        case 3, 1:
            red, green, blue = (weight * channel for weight, channel in zip(LUMA, images.chunk(3, 1), strict=True))
            return red + green + blue
        case _:
            raise ValueError(f"images are {_spelt(images)}; only 1 and 3 channels can be turned into each other")


def _spelt(images: Tensor) -> str:
    return f"({', '.join(map(str, images.shape))})"
