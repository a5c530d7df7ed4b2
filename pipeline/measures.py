"""What translations are scored by beside their distance to B: each a function of the outputs, or of inputs and outputs.

Images are arrays (N, 3, H, W) of 8 bits.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.extractors import Extractor, load_extractor, load_lpips
from pipeline.features import cached_features, extract, in_batches
from pipeline.fid import NEIGHBOURS, frechet_distance, precision_recall, statistics_of
from pipeline.metrics import DINOV2, FD_DINOV2, INCEPTION, LPIPS, PRECISION_RECALL, VGG, precision_recall_names
from pipeline.segmentation import Segmenter, class_ids, confusion_matrix, load_segmenter, segmentation_scores
from pipeline.settings import MetricConfig

Images = NDArray[np.uint8]
# Of the outputs alone, and of the inputs and their outputs.
SetMeasure = Callable[[Images], dict[str, float]]
PairMeasure = Callable[[Images, Images], dict[str, float]]


def set_measures(config: MetricConfig, real: Images, cache: Path, device: torch.device) -> list[SetMeasure]:
    """What `metric.also` asks for that compares the outputs, as a set, with the test images of B.

    Raises UserError where a network that is needed cannot be had, as does `pair_measures`.
    """
    measures: list[SetMeasure] = []
    if PRECISION_RECALL in config.also:
        extractor = load_extractor(VGG if config.extractor == INCEPTION else config.extractor, None)
        names = precision_recall_names(config.extractor)
        measures.append(partial(_precision_recall, _Features(extractor, real, cache, config.batch_size, device), names))
    if FD_DINOV2 in config.also:
        extractor = load_extractor(DINOV2, None)
        measures.append(partial(_fd_dinov2, _Features(extractor, real, cache, config.batch_size, device)))
    return measures


def pair_measures(
    config: MetricConfig, background: NDArray[np.bool_] | None, segmenter: Segmenter | None, device: torch.device
) -> list[PairMeasure]:
    """What looks at each input beside its output: what `metric.also` asks for, a segmenter where there is one, and the
    change of the ground where that is known."""
    measures: list[PairMeasure] = []
    if background is not None:
        measures.append(partial(background_change, background))
    if LPIPS in config.also:
        measures.append(partial(_lpips, load_lpips(), config.batch_size, device))
    if segmenter is not None:
        measures.append(partial(_segmentation, segmenter, config.batch_size, device))
    return measures


def require_networks(config: MetricConfig) -> None:
    """Raise UserError where a network that the metric needs cannot be had."""
    cpu = torch.device("cpu")
    load_extractor(config.extractor, config.weights)
    set_measures(config, np.empty((0, 3, 0, 0), np.uint8), Path(), cpu)
    pair_measures(config, None, load_segmenter(config.segmentation, cpu) if config.segmentation else None, cpu)


def background_change(background: NDArray[np.bool_], sources: Images, outputs: Images) -> dict[str, float]:
    """Mean absolute difference where `background` (N, H, W) is true, in 8-bit levels."""
    difference = np.abs(sources.astype(np.int16) - outputs.astype(np.int16)).mean(axis=1)
    return {"background_change": float(difference[background].mean())}


@dataclass(frozen=True)
class _Features:
    """Both sides of a comparison by one extractor: outputs as they come, real images from the cache."""

    extractor: Extractor
    real: Images
    cache: Path
    batch_size: int
    device: torch.device

    def of(self, outputs: Images) -> tuple[Tensor, Tensor]:
        generated = extract(self.extractor, in_batches(outputs, self.batch_size), self.device)
        return generated, cached_features(self.extractor, self.real, self.cache, self.batch_size, self.device)


def _precision_recall(features: _Features, names: tuple[str, str], outputs: Images) -> dict[str, float]:
    if min(len(features.real), len(outputs)) <= NEIGHBOURS:
        raise UserError(
            f"metric.also=[precision_recall]: {len(outputs)} and {len(features.real)} test images; each set needs more "
            f"than {NEIGHBOURS}"
        )
    return dict(zip(names, precision_recall(*features.of(outputs)), strict=True))


@torch.no_grad()
def _lpips(
    network: nn.Module, batch_size: int, device: torch.device, sources: Images, outputs: Images
) -> dict[str, float]:
    """The mean distance between an input and its translation: what was lost of the content, and what was made of it."""
    network.to(device)
    distances = [network(source, output) for source, output in _pairs(sources, outputs, batch_size, device)]
    network.to("cpu")
    return {LPIPS: float(torch.cat([distance.flatten() for distance in distances]).mean())}


def _fd_dinov2(features: _Features, outputs: Images) -> dict[str, float]:
    """The Fréchet distance between features of DINOv2's ViT-L/14 (Stein et al., NeurIPS 2023)."""
    generated, real = features.of(outputs)
    return {FD_DINOV2: frechet_distance(statistics_of(generated), statistics_of(real))}


def _segmentation(
    segmenter: Segmenter, batch_size: int, device: torch.device, sources: Images, outputs: Images
) -> dict[str, float]:
    """How well a network finds the labels of A again in the photographs that were made of them."""
    confusion = sum(
        confusion_matrix(class_ids(labels), segmenter.predict(photographs))
        for labels, photographs in _pairs(sources, outputs, batch_size, device)
    )
    assert isinstance(confusion, Tensor), "there are test images"
    return segmentation_scores(confusion)


def _pairs(sources: Images, outputs: Images, batch_size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    both = (in_batches(images, batch_size) for images in (sources, outputs))
    return ((source.to(device), output.to(device)) for source, output in zip(*both, strict=True))
