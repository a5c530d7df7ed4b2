"""Score a generator that was trained on one image for each domain: on these two images, whole."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from models.images import to_bits, to_model_range, with_channels
from pipeline.config.schema import MetricConfig
from pipeline.config.single_image.settings import MAP_EXTRACTORS
from pipeline.data.dataset_cache import Dataset
from pipeline.data.image_io import Picture
from pipeline.errors import UserError
from pipeline.metrics.evaluator import (
    ALIKE,
    Evaluation,
    Evaluator,
    Translate,
    common_provenance,
    in_8_bits_rgb,
    mean_range,
    resident_tensors,
)
from pipeline.metrics.extra_metrics import Images, pair_metrics
from pipeline.metrics.extractors import load_extractor
from pipeline.metrics.feature_cache import cached_features, extract, in_batches, in_float32
from pipeline.metrics.names import single_image_names
from pipeline.metrics.single_image.distance import single_image_distance

IDENTITY_ERROR = "identity_error"
# The longest side of an image in a grid, in pixels.
LONGEST_SHOWN = 512


def evaluator_of(
    dataset: Dataset, config: MetricConfig, device: torch.device, cache: Path
) -> "Evaluator | SingleImageEvaluator":
    """Return the evaluator that the extractor needs."""
    if config.extractor in MAP_EXTRACTORS:
        return SingleImageEvaluator(dataset, config, device, cache)
    return Evaluator(dataset, config, device, cache)


class SingleImageEvaluator:
    """Scores the translation of the image of A against the image of B. The features of both are cached."""

    def __init__(self, dataset: Dataset, config: MetricConfig, device: torch.device, cache: Path) -> None:
        self.dataset, self.config, self.device = dataset, config, device
        self.extractor = load_extractor(config.extractor, config.weights)
        self.test_a, self.test_b = in_8_bits_rgb(dataset.test_a), in_8_bits_rgb(dataset.test_b)
        self.features_a, self.features_b = (
            cached_features(self.extractor, images, cache, 1, device) for images in (self.test_a, self.test_b)
        )
        self.pair_metrics = pair_metrics(config, self.test_a, device)

    def evaluate(self, translate: Translate) -> Evaluation:
        """Translate both images, give them 8 bits as in a PNG file (`metric.to_8_bits`), and score the results.

        Scores: the distances of A's translation to B and to A, under the extractor's names; the mean absolute change
        of B in 8-bit levels; and those of `metric.also`. Raises UserError for a translation that is not finite.
        """
        outputs = self._translated(translate, self.dataset.test_a)
        features = extract(self.extractor, in_batches(outputs, 1), self.device)
        scores = self._scores(outputs, features)
        kept = self._translated(translate, self.dataset.test_b)
        scores[IDENTITY_ERROR] = float(np.abs(kept.astype(np.int16) - self.test_b).mean())
        # Positions stand in the place of images: a collapsed generator paints one colour.
        collapsed = mean_range(_positions(outputs)) < ALIKE * mean_range(_positions(self.test_b))
        grid = _grid(self.test_a[0], outputs[0], self.test_b[0])
        return Evaluation(outputs, features, scores, self.provenance(len(outputs)), grid, collapsed)

    def score_source(self) -> dict[str, float]:
        """Score the untranslated images, for comparison."""
        return {**self._scores(self.test_a, self.features_a), IDENTITY_ERROR: 0.0}

    def resident_tensors(self) -> list[Tensor]:
        """Return the extractor's tensors that stay on the device. On a GPU there are none between evaluations."""
        return resident_tensors(self.extractor, self.device)

    def provenance(self, count: int) -> dict[str, str]:
        """Return how the distances are computed. Only equal values make two distances comparable."""
        # The size is that of A: the score is of its translation.
        made_with = common_provenance(self.extractor, self.config, count, self.test_b, size_of=self.test_a)
        for metric in self.pair_metrics:
            made_with |= metric.made_with
        return made_with

    @torch.no_grad()
    def _translated(self, translate: Translate, image: Picture) -> Images:
        """Translate an image (1, C, H, W), with the channels of A as in training, into one of 8 bits (1, 3, H, W)."""
        inputs = to_model_range(torch.from_numpy(np.array(image)).to(self.device))
        with in_float32():
            output = translate(with_channels(inputs, self.dataset.test_a.shape[1]))
        if not output.isfinite().all():
            raise UserError("a translation is not finite: the generator diverged. Lower train.learning_rate")
        return in_8_bits_rgb(to_bits(output, torch.uint8, self.config.to_8_bits).cpu().numpy())

    def _scores(self, outputs: Images, features: Tensor) -> dict[str, float]:
        to_b, to_input = single_image_names(self.config.extractor)
        scores = {
            to_b: single_image_distance(features[0], self.features_b[0]),
            to_input: single_image_distance(features[0], self.features_a[0]),
        }
        with in_float32():
            for metric in self.pair_metrics:
                scores |= metric.score(self.test_a, outputs)
        return scores


def _positions(images: Images) -> Images:
    """Turn an image (1, 3, H, W) into its pixels (H W, 3, 1, 1)."""
    return images[0].reshape(3, -1).T[:, :, None, None]


def _grid(a: NDArray[np.uint8], output: NDArray[np.uint8], b: NDArray[np.uint8]) -> Images:
    """Return input, output and the image of B (each 3, H, W) below each other, (3 h, w, 3), small enough to be looked
    at. B's image is fitted into the size of A's, on white."""
    whole_a, whole_output, whole_b = (Image.fromarray(np.moveaxis(image, 0, 2)) for image in (a, output, b))
    factor = min(1.0, LONGEST_SHOWN / max(whole_a.size))
    size = round(whole_a.width * factor), round(whole_a.height * factor)
    shown = [whole_a.resize(size), whole_output.resize(size), ImageOps.pad(whole_b, size, color="white")]
    return np.concatenate([np.asarray(image) for image in shown])
