"""Translate images that are in memory: tensors, arrays and Pillow's images. The output is of the input's kind."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from models.images import MIN_SIDE
from models.networks.any_generator import AnyGenerator
from pipeline.config.schema import Config
from pipeline.errors import UserError
from pipeline.inference.translate import translate_picture, translate_tensor

Kind = TypeVar("Kind", Tensor, NDArray[np.uint8], Image.Image)
KINDS = (
    "Give a float tensor (C, H, W) or (N, C, H, W) in [-1, 1], a uint8 array (H, W, C) or (N, H, W, C), an image of "
    "Pillow, or a list of these"
)


@dataclass(frozen=True)
class Translator:
    """A trained generator from A to B, in evaluation mode on its device, and its checkpoint.

    network: a `torch.nn.Module`. config: the trial's settings; None for a file of the reference code.
    """

    network: AnyGenerator
    device: torch.device
    file: Path
    config: Config | None = None

    @overload
    def translate(self, images: Tensor) -> Tensor: ...
    @overload
    def translate(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]: ...
    @overload
    def translate(self, images: Image.Image) -> Image.Image: ...
    @overload
    def translate(self, images: Sequence[Kind]) -> list[Kind]: ...

    def translate(self, images: Any) -> Any:
        """Translate one image or several, without a gradient. An image gives what `just translate` gives for its file.

        The images of a batch are translated one by one, so they give the same alone and in any batch.

        Args:
            images: A tensor (C, H, W) or (N, C, H, W) of floats in [-1, 1], with the channels of the network, on any
                device; a uint8 array (H, W, C) or (N, H, W, C); an image of Pillow, of mode RGB or L, which is first
                rotated as its EXIF data say; or a list of these, also of different sizes. Arrays and images have 1 or 3
                channels, which are converted into those of the network. Sides have at least 8 pixels.

        Returns:
            The same kind, height and width, with the channels of the network's output. A tensor has the dtype and the
            device of the input.

        Raises:
            UserError: for another kind, shape, dtype or range, with one line.
        """
        match images:
            case Tensor():
                return self._translate_tensor(images)
            case np.ndarray():
                return self._translate_array(images)
            case Image.Image():
                return self._translate_image(images)
            case list() | tuple():
                return [self.translate(image) for image in images]
            case _:
                raise UserError(f"The images are of type {type(images).__name__}. {KINDS}")

    def _translate_tensor(self, images: Tensor) -> Tensor:
        channels = self.network.in_channels
        found = f"The tensor is ({', '.join(map(str, images.shape))}) of {images.dtype}"
        if not images.is_floating_point():
            raise UserError(f"{found}. It must be of floats in [-1, 1]: images / 127.5 - 1 for 8 bits")
        if images.dim() not in (3, 4) or images.shape[-3] != channels:
            raise UserError(f"{found}. It must be ({channels}, height, width) or (batch, {channels}, height, width)")
        _require_sides(found, *images.shape[-2:])
        inputs = images.detach().to(self.device, torch.float32)
        # Of a tensor with nan, no value is in the range.
        if inputs.numel() and not bool((inputs.abs() <= 1).all()):
            low, high = inputs.min().item(), inputs.max().item()
            raise UserError(f"{found}, with values from {low:g} to {high:g}. They must be in [-1, 1]")
        batch = inputs if images.dim() == 4 else inputs[None]
        outputs = inputs.new_empty(len(batch), self.network.out_channels, *images.shape[-2:])
        for number, image in enumerate(batch):
            outputs[number] = translate_tensor(self.network, image)
        return (outputs if images.dim() == 4 else outputs[0]).to(images.device, images.dtype)

    def _translate_array(self, images: NDArray[Any]) -> NDArray[np.uint8]:
        found = f"The array is ({', '.join(map(str, images.shape))}) of {images.dtype}"
        if images.dtype != np.uint8:
            raise UserError(f"{found}. It must be of uint8. Give floats in [-1, 1] as a tensor")
        if images.ndim not in (3, 4) or images.shape[-1] not in (1, 3):
            raise UserError(f"{found}. It must be (height, width, 1 or 3) or (batch, height, width, 1 or 3)")
        _require_sides(found, *images.shape[-3:-1])
        batch = images if images.ndim == 4 else images[None]
        outputs = np.empty((*batch.shape[:3], self.network.out_channels), np.uint8)
        for number, image in enumerate(batch):
            outputs[number] = translate_picture(self.network, image, self.device)
        return outputs if images.ndim == 4 else outputs[0]

    def _translate_image(self, image: Image.Image) -> Image.Image:
        if image.mode not in ("RGB", "L"):
            raise UserError(f'The image has mode {image.mode}. It must be RGB or L: image.convert("RGB")')
        pixels = np.asarray(ImageOps.exif_transpose(image))
        output = self._translate_array(pixels.reshape(*pixels.shape[:2], -1))
        return Image.fromarray(output if output.shape[2] == 3 else output[:, :, 0])


def _require_sides(found: str, height: int, width: int) -> None:
    if min(height, width) < MIN_SIDE:
        raise UserError(f"{found}: {height} x {width} pixels. Each side must be at least {MIN_SIDE}")
