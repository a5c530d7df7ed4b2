"""Translate a large image in tiles, without seams: for networks that look at no more than a margin around a pixel."""

from collections.abc import Callable

import torch
from torch import Tensor

from models.networks.any_generator import AnyGenerator
from models.networks.generator import Generator
from models.networks.stylegan2 import StyleGenerator, fixed_noise

# SinCUT's generator sees 30 rows and columns to each side. It takes sides of multiples of 4, so cuts are at these.
MARGIN, STEP = 32, 4
# Rows and columns of a tile without its margins: memory is that of an image of 576 x 576.
SIDE = 512


def translation_of(generator: AnyGenerator) -> Callable[[Tensor], Tensor]:
    """Return the translation of images (B, C, H, W) whose sides are multiples of 4, without a graph.

    SinCUT's is in tiles, with the fixed noise of the whole image. Others are whole: their normalisation looks at the
    whole image, so tiles would differ.
    """
    match generator:
        case StyleGenerator():
            return lambda image: translate_in_tiles(
                generator.translate, image, fixed_noise(*image.shape[-2:]).to(image)
            )
        case Generator():
            return generator.translate


def translate_in_tiles(
    translate: Callable[[Tensor, Tensor], Tensor], image: Tensor, noise: Tensor, side: int = SIDE, margin: int = MARGIN
) -> Tensor:
    """Return the translation (B, C', H, W) of an image (B, C, H, W) of any size, as if it were translated whole.

    translate: of a part of the image, and of the same part of the noise (B or 1, 1, H, W). side: of the parts without
    their margins. Both it and the margin are multiples of 4. A part at the image's border has no margin there, so it
    gets the padding that the whole image would get.
    """
    height, width = image.shape[-2:]
    rows, columns = (_parts(length, side, margin) for length in (height, width))
    lines = [
        torch.cat([_translated(translate, image, noise, row, column) for column in columns], dim=3) for row in rows
    ]
    return torch.cat(lines, dim=2)


def _parts(length: int, side: int, margin: int) -> list[tuple[slice, slice]]:
    """Return each part of a length with its margins, and where in it the part lies."""
    assert side % STEP == margin % STEP == 0
    starts = range(0, length, side)
    wide = [slice(max(0, start - margin), min(length, start + side + margin)) for start in starts]
    return [
        (part, slice(start - part.start, min(length, start + side) - part.start))
        for start, part in zip(starts, wide, strict=True)
    ]


def _translated(
    translate: Callable[[Tensor, Tensor], Tensor],
    image: Tensor,
    noise: Tensor,
    row: tuple[slice, slice],
    column: tuple[slice, slice],
) -> Tensor:
    (rows, kept_rows), (columns, kept_columns) = row, column
    output = translate(image[..., rows, columns], noise[..., rows, columns])
    # A copy, so that the margins are freed.
    return output[..., kept_rows, kept_columns].clone()
