"""What a generator is worth on the test images: distances to B, change of the ground, a grid to look at."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.data import Dataset, to_bits, to_model_range
from pipeline.fid import distances, extract, in_batches, load_extractor, nearest_neighbours
from pipeline.metrics import metric_names
from pipeline.pictures import Picture
from pipeline.settings import MetricConfig

Translate = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Evaluation:
    """Scores by name, and a picture (H, W, 3) of 8 bits: inputs, outputs, and each output's neighbour in B."""

    scores: dict[str, float]
    grid: NDArray[np.uint8]


class Evaluator:
    """Scores translations of test A against test B; B's features are computed once."""

    def __init__(self, dataset: Dataset, config: MetricConfig, device: torch.device) -> None:
        self.dataset, self.config, self.device = dataset, config, device
        self.extractor = load_extractor(config.extractor, config.weights, device)
        self.test_a, self.test_b = as_seen(dataset.test_a), as_seen(dataset.test_b)
        self.features_b = self._features(self.test_b)

    def evaluate(self, translate: Translate) -> Evaluation:
        """Translate every test image of A and score the outcome.

        Scores: the Fréchet and kernel distance under the extractor's names (KID with its deviation over
        subsets), and background_change, the mean absolute change outside the masks in 8-bit levels, where
        masks are known.
        """
        outputs = self._translate(translate)
        features = self._features(outputs)
        scores = self._distances(features)
        if self.dataset.background_a is not None:
            scores["background_change"] = background_change(self.test_a, outputs, self.dataset.background_a)
        return Evaluation(scores, self._grid(outputs, features))

    def score_source(self) -> dict[str, float]:
        """The scores of A as it is, for scale."""
        return self.evaluate(lambda images: images).scores

    def score_images(self, images: Picture) -> dict[str, float]:
        """The distances to B of images (N, 1 or 3, H, W) from anywhere."""
        return self._distances(self._features(as_seen(images)))

    def _translate(self, translate: Translate) -> NDArray[np.uint8]:
        batches = in_batches(self.dataset.test_a, self.config.batch_size)
        outputs = [to_bits(translate(to_model_range(batch.to(self.device))), torch.uint8) for batch in batches]
        return as_seen(torch.cat(outputs).cpu().numpy())

    def _distances(self, features: Tensor) -> dict[str, float]:
        frechet, kernel = metric_names(self.config.extractor)
        found = distances(features, self.features_b, self.config.kid_subset_size)
        return {frechet: found.frechet, kernel: found.kernel, f"{kernel}_std": found.kernel_deviation}

    def _features(self, images: NDArray[np.uint8]) -> Tensor:
        return extract(self.extractor, in_batches(images, self.config.batch_size), self.device)

    def _grid(self, outputs: NDArray[np.uint8], features: Tensor) -> NDArray[np.uint8]:
        count = min(self.config.grid_images, len(outputs))
        neighbours = self.test_b[nearest_neighbours(features[:count], self.features_b)]
        rows = [np.concatenate(list(images), axis=2) for images in (self.test_a[:count], outputs[:count], neighbours)]
        return np.concatenate(rows, axis=1).transpose(1, 2, 0)


def as_seen(images: Picture) -> NDArray[np.uint8]:
    """Images (N, 1 or 3, H, W) of 8 or 16 bits as eye and metric take them: (N, 3, H, W) of 8."""
    shallow = np.asarray(images if images.dtype == np.uint8 else np.rint(images / 257), dtype=np.uint8)
    return shallow if images.shape[1] == 3 else shallow.repeat(3, axis=1)


def background_change(sources: NDArray[np.uint8], outputs: NDArray[np.uint8], background: NDArray[np.bool_]) -> float:
    """Mean absolute difference where `background` (N, H, W) is true, in 8-bit levels, of images (N, 3, H, W)."""
    difference = np.abs(sources.astype(np.int16) - outputs.astype(np.int16)).mean(axis=1)
    return float(difference[background].mean())
