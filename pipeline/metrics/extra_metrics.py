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

from analysis.records.names import Tag
from pipeline.config.schema import MetricConfig
from pipeline.errors import UserError
from pipeline.metrics.distances import NEIGHBOURS, frechet_distance, precision_recall, statistics_of
from pipeline.metrics.extractors import Extractor, load_extractor, load_lpips, weights_digest
from pipeline.metrics.feature_cache import cached_features, extract, in_batches
from pipeline.metrics.names import DINOV2, FD_DINOV2, INCEPTION, LPIPS, PRECISION_RECALL, VGG, precision_recall_names
from pipeline.metrics.segmentation import class_ids, confusion_matrix, load_segmenter, segmentation_scores

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Measure:
    """A function that gives scores by name, of outputs alone or of inputs and their outputs; and the hashes of the
    networks that it takes, by theirs."""

    score: Callable[..., dict[str, float]]
    made_with: dict[str, str]


def set_measures(
    config: MetricConfig, sources: Images, real: Images, cache: Path, device: torch.device
) -> list[Measure]:
    """What `metric.also` asks for that compares the outputs, as a set, with the test images of B: of outputs alone.

    Raises UserError, as `pair_measures` does, for test images that cannot be scored so, and where a network that is
    needed cannot be had.
    """
    measures: list[Measure] = []
    if PRECISION_RECALL in config.also:
        _require_neighbours(min(len(sources), len(real)))
        extractor = load_extractor(VGG if config.extractor == INCEPTION else config.extractor, None)
        features = _Features(extractor, real, cache, config.batch_size, device)
        names = precision_recall_names(config.extractor)
        hashes = {extractor.name: extractor.weights} if extractor.name == VGG else {}
        measures.append(Measure(partial(_precision_recall, features, names), hashes))
    if FD_DINOV2 in config.also:
        extractor = load_extractor(DINOV2, None)
        features = _Features(extractor, real, cache, config.batch_size, device)
        measures.append(Measure(partial(_fd_dinov2, features), {extractor.name: extractor.weights}))
    return measures


def pair_measures(
    config: MetricConfig, sources: Images, background: NDArray[np.bool_] | None, device: torch.device
) -> list[Measure]:
    """What looks at each input beside its output: what `metric.also` and `metric.segmentation` ask for, and the change
    of the ground where that is known."""
    measures: list[Measure] = []
    if background is not None:
        measures.append(Measure(partial(background_change, background), {}))
    if LPIPS in config.also:
        network = load_lpips()
        hashes = {Tag.LPIPS_VGG16: weights_digest(network)}
        measures.append(Measure(partial(_lpips, network, config.batch_size, device), hashes))
    if config.segmentation is not None:
        # Loaded and tried here, and loaded again where it is used: its memory is not the training's.
        segmenter = load_segmenter(config.segmentation, torch.device("cpu"))
        for some in in_batches(sources[:2], 2):
            class_ids(some)
            segmenter.predict(some)
        score = partial(_segmentation, config.segmentation, config.batch_size, device)
        measures.append(Measure(score, {Tag.SEGMENTER: segmenter.weights}))
    return measures


def require_networks(config: MetricConfig) -> None:
    """Raise UserError where a network that the metric needs cannot be had."""
    cpu, enough, none = (
        torch.device("cpu"),
        np.empty((NEIGHBOURS + 1, 3, 0, 0), np.uint8),
        np.empty((0, 3, 0, 0), np.uint8),
    )
    load_extractor(config.extractor, config.weights)
    set_measures(config, enough, enough, Path(), cpu)
    pair_measures(config, none, None, cpu)


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
    _require_neighbours(len(outputs))
    return dict(zip(names, precision_recall(*features.of(outputs)), strict=True))


def _require_neighbours(count: int) -> None:
    if count <= NEIGHBOURS:
        raise UserError(f"metric.also=[precision_recall]: {count} images; each of the two sets needs {NEIGHBOURS + 1}")


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
    path: str, batch_size: int, device: torch.device, sources: Images, outputs: Images
) -> dict[str, float]:
    """How well a network finds the labels of A again in the photographs that were made of them."""
    segmenter = load_segmenter(path, device)
    confusion = sum(
        confusion_matrix(class_ids(labels), segmenter.predict(photographs))
        for labels, photographs in _pairs(sources, outputs, batch_size, device)
    )
    assert isinstance(confusion, Tensor), "there are test images"
    return segmentation_scores(confusion)


def _pairs(sources: Images, outputs: Images, batch_size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    both = (in_batches(images, batch_size) for images in (sources, outputs))
    return ((source.to(device), output.to(device)) for source, output in zip(*both, strict=True))
