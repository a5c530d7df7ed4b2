"""Unpaired batches of a data set. Each is a function of seed, epoch and index."""

from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from models.objective import Batch
from pipeline.config.schema import Config
from pipeline.config.single_image.settings import CropsConfig
from pipeline.data.dataset_cache import Dataset
from pipeline.data.image_io import Picture
from pipeline.data.single_image.crops import CropBatches
from pipeline.rng import rng_for


class Batches(Protocol):
    """Batches of both domains. Epochs and the steps in them are counted from 0."""

    steps_per_epoch: int

    def batch(self, epoch: int, index: int, rng: torch.Generator, *, decaying: bool) -> Batch:
        """Return a batch of 8 or 16 bits, on the host. It depends only on these arguments. rng: of the step."""
        ...


def batches_of(dataset: Dataset, config: Config) -> Batches:
    """Return the batches on which a trial trains."""
    data, batch_size, seed = config.data, config.train.batch_size, config.seed
    if isinstance(data, CropsConfig):
        return CropBatches(dataset, data, batch_size, seed)
    return UnpairedBatches(dataset, data.size, batch_size, seed)


class UnpairedBatches:
    """Batches of both domains, cropped and flipped at random: A in a new order each epoch, B drawn at random.

    An epoch has max(|A|, |B|) images of A, so the images of a smaller A are repeated, as in the reference code.
    """

    def __init__(self, dataset: Dataset, size: tuple[int, int], batch_size: int, seed: int) -> None:
        self.dataset, self.size, self.batch_size, self.seed = dataset, size, batch_size, seed
        self.images_per_epoch = max(len(dataset.train_a), len(dataset.train_b))
        self.steps_per_epoch = self.images_per_epoch // batch_size
        self._order = lru_cache(maxsize=2)(self._draw_order)

    def batch(self, epoch: int, index: int, rng: torch.Generator, *, decaying: bool) -> Batch:
        """Return a batch of an epoch (both counted from 0). It depends only on these and on rng.

        Its images have 8 or 16 bits and are on the host.
        """
        a, b = (
            (self.dataset.decay_a, self.dataset.decay_b) if decaying else (self.dataset.train_a, self.dataset.train_b)
        )
        indices_a = self._order(epoch)[index * self.batch_size : (index + 1) * self.batch_size] % len(a)
        indices_b = torch.randint(len(b), (len(indices_a),), generator=rng).numpy()
        return Batch(self._augmented(a[indices_a], rng), self._augmented(b[indices_b], rng))

    def _draw_order(self, epoch: int) -> NDArray[np.int64]:
        return torch.randperm(self.images_per_epoch, generator=rng_for(self.seed, "order", epoch)).numpy()

    def _augmented(self, images: Picture, rng: torch.Generator) -> torch.Tensor:
        (*_, height, width), (rows, columns) = images.shape, self.size
        augmented: list[torch.Tensor] = []
        for image in torch.from_numpy(images):
            top = int(torch.randint(height - rows + 1, (), generator=rng))
            left = int(torch.randint(width - columns + 1, (), generator=rng))
            cropped = image[:, top : top + rows, left : left + columns]
            augmented.append(cropped.flip(-1) if torch.rand((), generator=rng) < 0.5 else cropped)
        return torch.stack(augmented)
