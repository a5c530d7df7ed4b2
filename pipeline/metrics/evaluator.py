"""What a generator is worth on the test images: distances to B, what else is asked for, a grid to look at."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.records.names import Tag, deviation_name
from models.images import to_bits, to_model_range
from pipeline.config.schema import MetricConfig
from pipeline.data.dataset_cache import Dataset
from pipeline.data.image_io import Picture
from pipeline.errors import UserError
from pipeline.hardware.transfer import copy_to_host
from pipeline.metrics.distances import (
    KID_SUBSETS,
    frechet_distance,
    kernel_distance,
    kid_subset,
    nearest_neighbours,
    statistics_of,
)
from pipeline.metrics.extra_metrics import Images, pair_measures, set_measures
from pipeline.metrics.extractors import LIBRARY, load_extractor
from pipeline.metrics.feature_cache import cached_features, extract, in_batches, in_float32
from pipeline.metrics.names import metric_names

Translate = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Evaluation:
    """What was scored (N, 3, H, W), its scores by name and what they were made with, and a picture (H, W, 3) of 8 bits:
    inputs where there are some, outputs, and each output's neighbour in B."""

    outputs: Images
    scores: dict[str, float]
    provenance: dict[str, str]
    grid: Images


class Evaluator:
    """Scores translations of test A against test B. Features of A and B as they are come from the machine's cache."""

    def __init__(self, dataset: Dataset, config: MetricConfig, device: torch.device, cache: Path) -> None:
        self.dataset, self.config, self.device, self.cache = dataset, config, device, cache
        self.extractor = load_extractor(config.extractor, config.weights)
        self.test_a, self.test_b = as_seen(dataset.test_a), as_seen(dataset.test_b)
        self.features_b = self._cached(self.test_b)
        self.statistics_b = statistics_of(self.features_b)
        self.set_measures = set_measures(config, self.test_a, self.test_b, cache, device)
        self.pair_measures = pair_measures(config, self.test_a, dataset.background_a, device)

    def evaluate(self, translate: Translate) -> Evaluation:
        """Translate every test image of A, round it to 8 bits as a PNG holds it, and score the outcome.

        Scores: the Fréchet and kernel distance under the extractor's names (the latter with its deviation over
        subsets), and those of `pipeline.metrics.extra_metrics`. Raises UserError for a translation that is not finite.
        """
        outputs, features = self._translate(translate)
        scores = self._scores(outputs, features) | self._pair_scores(outputs)
        return Evaluation(outputs, scores, self.provenance(len(outputs)), self._grid(features, self.test_a, outputs))

    def score_source(self) -> dict[str, float]:
        """The scores of A as it is, for scale."""
        return self._scores(self.test_a, self._cached(self.test_a)) | self._pair_scores(self.test_a)

    def evaluate_images(self, images: Picture) -> Evaluation:
        """Score images (N, 1 or 3, H, W) from anywhere, whose inputs are not known."""
        outputs = as_seen(images)
        features = extract(self.extractor, in_batches(outputs, self.config.batch_size), self.device)
        scores = self._scores(outputs, features)
        return Evaluation(outputs, scores, self.provenance(len(outputs)), self._grid(features, outputs))

    def resident_tensors(self) -> list[Tensor]:
        """What the extractor holds where evaluations run; on a GPU it comes and goes with them."""
        return list(self.extractor.network.state_dict().values()) if self.device.type == "cpu" else []

    def provenance(self, count: int) -> dict[str, str]:
        """What the distances of `count` images are made with: all that another's number must share to be comparable."""
        extractor, (height, width) = self.extractor, self.test_b.shape[-2:]
        made_with = {
            Tag.EXTRACTOR: extractor.name,
            Tag.WEIGHTS: extractor.weights,
            Tag.LAYER: extractor.layer,
            Tag.DIMENSIONS: str(extractor.dimensions),
            Tag.RESIZE: extractor.resize,
            Tag.IMAGE_SIZE: f"{height} x {width}",
            Tag.IMAGES_A: str(count),
            Tag.IMAGES_B: str(len(self.test_b)),
            Tag.KID_SUBSET_SIZE: str(kid_subset(self.config.kid_subset_size, count, len(self.test_b))),
            Tag.KID_SUBSETS: str(KID_SUBSETS),
            Tag.ARITHMETIC: "float32",
            Tag.COMPUTED_BY: LIBRARY,
        }
        for measure in (*self.set_measures, *self.pair_measures):
            made_with |= measure.made_with
        return made_with

    def _translate(self, translate: Translate) -> tuple[Images, Tensor]:
        """Every test image of A translated, and its features: from one network to the other on the device. Each batch
        of translations is moved to the host meanwhile, so that a GPU holds one at a time."""
        kept: list[Callable[[], Tensor]] = []
        finite: list[Tensor] = []

        def translated(batch: Tensor) -> Tensor:
            output = translate(to_model_range(batch.to(self.device)))
            finite.append(output.isfinite().all())
            levels = to_bits(output, torch.uint8)
            levels = levels if levels.shape[1] == 3 else levels.repeat(1, 3, 1, 1)
            kept.append(copy_to_host(levels))
            return levels

        batches = in_batches(self.dataset.test_a, self.config.batch_size)
        features = extract(self.extractor, map(translated, batches), self.device)
        # Looked at here, once, since each look would have the host wait for a GPU.
        if not torch.stack(finite).all():
            raise UserError("a translation of test A is not finite: the generator diverged; lower train.learning_rate")
        return torch.cat([wait() for wait in kept]).numpy(), features

    def _cached(self, images: Images) -> Tensor:
        return cached_features(self.extractor, images, self.cache, self.config.batch_size, self.device)

    def _scores(self, outputs: Images, features: Tensor) -> dict[str, float]:
        frechet, kernel = metric_names(self.config.extractor)
        kid = kernel_distance(features, self.features_b, self.config.kid_subset_size)
        scores = {
            frechet: frechet_distance(statistics_of(features), self.statistics_b),
            kernel: kid.mean,
            deviation_name(kernel): kid.deviation,
        }
        for measure in self.set_measures:
            scores |= measure.score(outputs)
        return scores

    def _pair_scores(self, outputs: Images) -> dict[str, float]:
        scores: dict[str, float] = {}
        with in_float32():
            for measure in self.pair_measures:
                scores |= measure.score(self.test_a, outputs)
        return scores

    def _grid(self, features: Tensor, *rows: Images) -> Images:
        """Rows of images, the last of them those of the features, and below it their neighbours in B."""
        count = min(self.config.grid_images, len(features))
        neighbours = self.test_b[nearest_neighbours(features[:count], self.features_b)]
        lines = [np.concatenate(list(images[:count]), axis=2) for images in (*rows, neighbours)]
        return np.concatenate(lines, axis=1).transpose(1, 2, 0)


def as_seen(images: Picture) -> NDArray[np.uint8]:
    """Images (N, 1 or 3, H, W) of 8 or 16 bits as eye and metric take them: (N, 3, H, W) of 8."""
    shallow = np.asarray(images if images.dtype == np.uint8 else np.rint(images / 257), dtype=np.uint8)
    return shallow if images.shape[1] == 3 else shallow.repeat(3, axis=1)
