"""Score a generator on the test images: distances to B, extra metrics, and a grid of images."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.records.names import Tag, deviation_name
from analysis.records.progress import tracked
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
from pipeline.metrics.extra.few_images import extrapolated_distance, require_images
from pipeline.metrics.extra_metrics import Images, pair_metrics, set_metrics, truth_metrics
from pipeline.metrics.extractors import LIBRARY, Extractor, load_extractor
from pipeline.metrics.feature_cache import cached_features, extract, in_batches, in_float32
from pipeline.metrics.names import AS_IN_THE_FILES, EXTRAPOLATED, infinity_name, metric_names

Translate = Callable[[Tensor], Tensor]

# Translations are all alike if they differ by less than this part of what the test images of B differ by.
ALIKE = 0.02


@dataclass(frozen=True)
class Evaluation:
    """The scored images (N, 3, H, W), their scores by name, how they were computed, and a grid (H, W, 3) of 8 bits.

    The rows of the grid: inputs if they are known, outputs, and for each output the nearest image of B. collapsed: all
    images are alike, as if the generator had no input. features (N, D): of the extractor.
    """

    outputs: Images
    features: Tensor
    scores: dict[str, float]
    provenance: dict[str, str]
    grid: Images
    collapsed: bool


class Evaluator:
    """Scores translations of test A against test B. The features of A and B are cached."""

    def __init__(self, dataset: Dataset, config: MetricConfig, device: torch.device, cache: Path) -> None:
        self.dataset, self.config, self.device, self.cache = dataset, config, device, cache
        self.extractor = load_extractor(config.extractor, config.weights)
        self.test_a, self.test_b = in_8_bits_rgb(dataset.test_a), in_8_bits_rgb(dataset.test_b)
        self.features_b = self._cached(self.test_b)
        self.statistics_b = statistics_of(self.features_b)
        if EXTRAPOLATED in config.also:
            require_images(min(len(self.test_a), len(self.test_b)))
        self.set_metrics = set_metrics(config, self.test_a, self.test_b, cache, device)
        self.pair_metrics = [
            *truth_metrics(dataset.objects_a, dataset.background_a),
            *pair_metrics(config, self.test_a, device),
        ]

    def evaluate(self, translate: Translate) -> Evaluation:
        """Translate every test image of A, give it 8 bits as in a PNG file (`metric.to_8_bits`), and score the result.

        Scores: the Fréchet and the kernel distance under the extractor's names, the kernel distance's standard
        deviation over subsets, and those of `pipeline.metrics.extra_metrics`. Raises UserError for a translation that
        is not finite.
        """
        # Each batch of translations is copied to the host while the next one is made, so that a GPU holds only one.
        kept: list[Callable[[], Tensor]] = []
        finite: list[Tensor] = []

        def translated(batch: Tensor) -> Tensor:
            output = translate(to_model_range(batch.to(self.device)))
            finite.append(output.isfinite().all())
            levels = to_bits(output, torch.uint8, self.config.to_8_bits)
            levels = levels if levels.shape[1] == 3 else levels.repeat(1, 3, 1, 1)
            kept.append(copy_to_host(levels))
            return levels

        batches = in_batches(self.dataset.test_a, self.config.batch_size)
        features = extract(self.extractor, map(translated, batches), self.device)
        # Checked once at the end, since each check makes the host wait for a GPU.
        if not torch.stack(finite).all():
            raise UserError("a translation of test A is not finite: the generator diverged. Lower train.learning_rate")
        outputs = torch.cat([wait() for wait in kept]).numpy()
        return self._evaluation(outputs, features, paired=True)

    def score_source(self) -> dict[str, float]:
        """Score the untranslated A, for comparison."""
        return self._scores(self.test_a, self._cached(self.test_a), paired=True)

    def evaluate_images(self, images: Picture) -> Evaluation:
        """Score images (N, 1 or 3, H, W) whose inputs are not known."""
        outputs, size = in_8_bits_rgb(images), self.config.batch_size
        batches = tracked(in_batches(outputs, size), -(-len(outputs) // size), "scoring, batches")
        features = extract(self.extractor, batches, self.device)
        return self._evaluation(outputs, features, paired=False)

    def resident_tensors(self) -> list[Tensor]:
        """Return the extractor's tensors that stay on the device. On a GPU there are none between evaluations."""
        return resident_tensors(self.extractor, self.device)

    def provenance(self, count: int) -> dict[str, str]:
        """Return how the distances of `count` images are computed. Only equal values make two distances comparable."""
        made_with = {
            **common_provenance(self.extractor, self.config, count, self.test_b),
            Tag.KID_SUBSET_SIZE: str(kid_subset(self.config.kid_subset_size, count, len(self.test_b))),
            Tag.KID_SUBSETS: str(KID_SUBSETS),
            Tag.COMPUTED_BY: LIBRARY,
        }
        for metric in (*self.set_metrics, *self.pair_metrics):
            made_with |= metric.made_with
        return made_with

    def _cached(self, images: Images) -> Tensor:
        return cached_features(self.extractor, images, self.cache, self.config.batch_size, self.device)

    def _scores(self, outputs: Images, features: Tensor, *, paired: bool) -> dict[str, float]:
        """Score outputs by their features. paired: also by their inputs, the test images of A."""
        frechet, kernel = metric_names(self.config.extractor)
        mean, deviation = kernel_distance(features, self.features_b, self.config.kid_subset_size)
        distance = frechet_distance(statistics_of(features), self.statistics_b)
        scores = {frechet: distance, kernel: mean, deviation_name(kernel): deviation}
        for metric in self.set_metrics:
            scores |= metric.score(outputs)
        if EXTRAPOLATED in self.config.also:
            limit = infinity_name(frechet)
            scores[limit], scores[deviation_name(limit)] = extrapolated_distance(features, self.features_b)
        with in_float32():
            for metric in self.pair_metrics if paired else ():
                scores |= metric.score(self.test_a, outputs)
        return scores

    def _evaluation(self, outputs: Images, features: Tensor, *, paired: bool) -> Evaluation:
        """Score outputs by their features, and show some. paired: their inputs are the test images of A."""
        scores = self._scores(outputs, features, paired=paired)
        count = min(self.config.grid_images, len(features))
        neighbours = self.test_b[nearest_neighbours(features[:count], self.features_b)]
        rows = [self.test_a, outputs, neighbours] if paired else [outputs, neighbours]
        grid = np.concatenate([np.concatenate(list(images[:count]), axis=2) for images in rows], axis=1)
        collapsed = mean_range(outputs) < ALIKE * mean_range(self.test_b)
        made_with = self.provenance(len(outputs)) | ({} if paired else {Tag.TO_8_BITS: AS_IN_THE_FILES})
        return Evaluation(outputs, features, scores, made_with, grid.transpose(1, 2, 0), collapsed)


def mean_range(images: Images) -> float:
    """Return by how many levels (0 to 255) a value of images (N, 3, H, W) differs between them, on average."""
    return float(np.ptp(images, axis=0).mean())


def in_8_bits_rgb(images: Picture) -> NDArray[np.uint8]:
    """Turn images (N, 1 or 3, H, W) of 8 or 16 bits into those that people and metrics see: (N, 3, H, W) of 8 bits."""
    shallow = np.asarray(images if images.dtype == np.uint8 else np.rint(images / 257), dtype=np.uint8)
    return shallow if images.shape[1] == 3 else shallow.repeat(3, axis=1)


def resident_tensors(extractor: Extractor, device: torch.device) -> list[Tensor]:
    """Return the extractor's tensors that stay on the device. On a GPU there are none between evaluations."""
    return list(extractor.network.state_dict().values()) if device.type == "cpu" else []


def common_provenance(
    extractor: Extractor, config: MetricConfig, count: int, test_b: Images, size_of: Images | None = None
) -> dict[str, str]:
    """Return how a distance of `count` images to B's is computed. size_of: images of the size; B's by default."""
    height, width = (test_b if size_of is None else size_of).shape[-2:]
    return {
        Tag.EXTRACTOR: extractor.name,
        Tag.WEIGHTS: extractor.weights,
        Tag.LAYER: extractor.layer,
        Tag.DIMENSIONS: str(extractor.dimensions),
        Tag.RESIZE: extractor.resize,
        Tag.IMAGE_SIZE: f"{height} x {width}",
        Tag.IMAGES_A: str(count),
        Tag.IMAGES_B: str(len(test_b)),
        Tag.ARITHMETIC: "float32",
        Tag.TO_8_BITS: config.to_8_bits,
    }
