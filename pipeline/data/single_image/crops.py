"""Batches of crops from one image for each domain. Each is a function of seed, epoch and index.

Crops are those of the released code (taesungp/contrastive-unpaired-translation @ b3ac297, data/singleimage_dataset.py
and data/base_dataset.py): the image is shrunk, a cell of a grid is cut out, and it is flipped with probability 1/2.
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from models.objective import Batch
from pipeline.config.single_image.settings import CropsConfig
from pipeline.data.dataset_cache import Dataset
from pipeline.data.image_io import Picture
from pipeline.rng import rng_for

Size = tuple[int, int]


class CropBatches:
    """Batches of crops. In an epoch, a domain's crops are numbered 0 to crops_per_epoch - 1, in an order of its own.

    Each domain draws its own zooms, cells and flips.
    """

    def __init__(self, dataset: Dataset, config: CropsConfig, batch_size: int, seed: int) -> None:
        self.config, self.batch_size, self.seed = config, batch_size, seed
        self.steps_per_epoch = config.crops_per_epoch // batch_size
        self._images = {"a": _as_image(dataset.train_a), "b": _as_image(dataset.train_b)}
        self._order = lru_cache(maxsize=4)(self._draw_order)

    def batch(self, epoch: int, index: int, rng: torch.Generator, *, decaying: bool) -> Batch:
        """Return a batch of an epoch (both counted from 0). It depends only on these and on rng.

        Its crops have 8 bits and are on the host. They are the same in the decay phase.
        """
        return Batch(*(self._crops(domain, epoch, index, rng) for domain in self._images))

    def _crops(self, domain: str, epoch: int, index: int, rng: torch.Generator) -> torch.Tensor:
        image, config = self._images[domain], self.config
        cells = self._order(domain, epoch)[index * self.batch_size : (index + 1) * self.batch_size]
        shared = draw_zoom(config.largest_shrink, rng) if config.zoom == "per_batch" else None
        crops: list[torch.Tensor] = []
        for cell in cells.tolist():
            zoom = shared or draw_zoom(config.largest_shrink, rng)
            shrunk = shrunk_size((image.height, image.width), zoom, config.size)
            crop = torch.from_numpy(cut(image, shrunk, cell_corner(cell, shrunk, config.size, rng), config.size))
            crops.append(crop.flip(-1) if torch.rand((), generator=rng) < 0.5 else crop)
        return torch.stack(crops)

    def _draw_order(self, domain: str, epoch: int) -> NDArray[np.int64]:
        rng = rng_for(self.seed, "order", epoch, domain)
        return torch.randperm(self.config.crops_per_epoch, generator=rng).numpy()


def draw_zoom(largest_shrink: float, rng: torch.Generator) -> tuple[float, float]:
    """Draw the factors of height and width, each uniform in [1 / largest_shrink, 1]."""
    low = 1 / largest_shrink
    height, width = (low + (1 - low) * torch.rand(2, generator=rng, dtype=torch.float64)).tolist()
    return height, width


def shrunk_size(size: Size, zoom: tuple[float, float], crop: Size) -> Size:
    """Return an image's height and width after the zoom: at least those of a crop."""
    height, width = (max(least, round(side * factor)) for side, factor, least in zip(size, zoom, crop, strict=True))
    return height, width


def cell_corner(number: int, size: Size, crop: Size, rng: torch.Generator) -> Size:
    """Return the top and left of a cell of the grid of whole cells. Cells are counted down the columns.

    Whole cells seldom cover the image: the grid is shifted by what is left over, at most, drawn uniformly.
    """
    rows, columns = size[0] // crop[0], size[1] // crop[1]
    top, left = (
        int(torch.randint(side - count * length + 1, (), generator=rng))
        for side, count, length in zip(size, (rows, columns), crop, strict=True)
    )
    column, row = divmod(number % (rows * columns), rows)
    return top + row * crop[0], left + column * crop[1]


def cut(image: Image.Image, shrunk: Size, corner: Size, crop: Size) -> NDArray[np.uint8]:
    """Return a crop (channels, height, width) of the image, which Pillow's bilinear filter resizes to `shrunk`.

    The filter is antialiased. Only the crop is computed, which is many times faster. Some values differ by a level or
    two from those of the whole resized image: Pillow rounds between its two passes, whose order depends on the sizes.
    """
    down, across = image.height / shrunk[0], image.width / shrunk[1]
    (top, left), (height, width) = corner, crop
    bottom, right = min((top + height) * down, image.height), min((left + width) * across, image.width)
    box = (left * across, top * down, right, bottom)
    pixels = np.array(image.resize((width, height), Image.Resampling.BILINEAR, box=box))
    return np.moveaxis(pixels.reshape(height, width, -1), 2, 0)


def _as_image(images: Picture) -> Image.Image:
    """Return the only image of an array (1, 1 or 3, H, W) of 8 bits."""
    pixels = np.moveaxis(images[0], 0, 2)
    return Image.fromarray(np.ascontiguousarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels))
