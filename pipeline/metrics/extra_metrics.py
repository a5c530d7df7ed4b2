"""Metrics in addition to the distances to B. Each is a function of the outputs, or of the inputs and outputs.

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

from analysis.records.names import Tag, deviation_name
from pipeline.config.schema import MetricConfig
from pipeline.data.stripes import find_striped
from pipeline.errors import UserError
from pipeline.metrics.distances import (
    NEIGHBOURS,
    frechet_distance,
    kernel_distance,
    precision_recall,
    statistics_of,
)
from pipeline.metrics.extra.content import Truth, content_scores, truth_of
from pipeline.metrics.extra.dino import structure_distances
from pipeline.metrics.extra.edges import edges_kept
from pipeline.metrics.extractors import Extractor, load_dino, load_extractor, load_lpips, weights_digest
from pipeline.metrics.feature_cache import cached_features, extract, in_batches
from pipeline.metrics.names import (
    DINO_STRUCTURE,
    DINOV2,
    EDGES,
    EFFICIENTNET,
    FD_DINOV2,
    FD_EFFICIENTNET,
    KD_EFFICIENTNET,
    LPIPS,
    PRECISION_RECALL,
    SMALL_CONV,
    VGG,
    precision_recall_names,
)
from pipeline.metrics.segmentation import (
    IGNORED,
    are_objects,
    class_ids,
    confusion_matrix,
    load_segmenter,
    segmentation_scores,
)

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class ExtraMetric:
    """A function from outputs, or inputs and outputs, to scores by name; and the hashes of its networks by name."""

    score: Callable[..., dict[str, float]]
    made_with: dict[str, str]


def set_metrics(
    config: MetricConfig, sources: Images, real: Images, cache: Path, device: torch.device
) -> list[ExtraMetric]:
    """Return those metrics of `metric.also` that compare the set of outputs with the test images of B.

    Raises UserError if these test images cannot be scored, or if a network is not available.
    """

    def features(extractor: Extractor, outputs: Images) -> tuple[Tensor, Tensor]:
        generated = extract(extractor, in_batches(outputs, config.batch_size), device)
        return generated, cached_features(extractor, real, cache, config.batch_size, device)

    def score_neighbours(extractor: Extractor, outputs: Images) -> dict[str, float]:
        _require_neighbours(len(outputs))
        names = precision_recall_names(config.extractor)
        return dict(zip(names, precision_recall(*features(extractor, outputs)), strict=True))

    def score_dinov2(extractor: Extractor, outputs: Images) -> dict[str, float]:
        """Return the Fréchet distance between features of DINOv2's ViT-L/14 (Stein et al., NeurIPS 2023)."""
        generated, of_real = features(extractor, outputs)
        return {FD_DINOV2: frechet_distance(statistics_of(generated), statistics_of(of_real))}

    def score_efficientnet(extractor: Extractor, outputs: Images) -> dict[str, float]:
        generated, of_real = features(extractor, outputs)
        mean, deviation = kernel_distance(generated, of_real, config.kid_subset_size)
        distance = frechet_distance(statistics_of(generated), statistics_of(of_real))
        return {FD_EFFICIENTNET: distance, KD_EFFICIENTNET: mean, deviation_name(KD_EFFICIENTNET): deviation}

    metrics: list[ExtraMetric] = []
    if PRECISION_RECALL in config.also:
        _require_neighbours(min(len(sources), len(real)))
        extractor = load_extractor(SMALL_CONV if config.extractor == SMALL_CONV else VGG, None)
        hashes = {extractor.name: extractor.weights} if extractor.name == VGG else {}
        metrics.append(ExtraMetric(partial(score_neighbours, extractor), hashes))
    if FD_DINOV2 in config.also:
        extractor = load_extractor(DINOV2, None)
        metrics.append(ExtraMetric(partial(score_dinov2, extractor), {extractor.name: extractor.weights}))
    if FD_EFFICIENTNET in config.also and config.extractor != EFFICIENTNET:
        extractor = load_extractor(EFFICIENTNET, None)
        metrics.append(ExtraMetric(partial(score_efficientnet, extractor), {extractor.name: extractor.weights}))
    return metrics


def truth_metrics(objects: NDArray[np.bool_] | None, background: NDArray[np.bool_] | None) -> list[ExtraMetric]:
    """Return the metrics that need the truth of each input, where it is known: which pixels (N, H, W) must have an
    object, which is striped, and which must not change. Raises UserError if the truth cannot be scored."""
    metrics: list[ExtraMetric] = []
    if objects is not None:
        truth = truth_of(objects)
        metrics.append(ExtraMetric(lambda _, outputs: content_scores(truth, find_striped(outputs)), {}))
    if background is not None:
        metrics.append(ExtraMetric(partial(background_change, background), {}))
    return metrics


def pair_metrics(config: MetricConfig, sources: Images, device: torch.device) -> list[ExtraMetric]:
    """Return the metrics that compare each output with its input: those of `metric.also` and `metric.segmentation`.
    Raises UserError as `set_metrics` does."""

    def pairs(sources: Images, outputs: Images) -> Iterator[tuple[Tensor, Tensor]]:
        both = (in_batches(images, config.batch_size) for images in (sources, outputs))
        return ((source.to(device), output.to(device)) for source, output in zip(*both, strict=True))

    @torch.no_grad()
    def score_lpips(network: nn.Module, sources: Images, outputs: Images) -> dict[str, float]:
        """Return the mean LPIPS distance between an input and its translation."""
        network.to(device)
        distances = [network(source, output).flatten() for source, output in pairs(sources, outputs)]
        network.to("cpu")
        return {LPIPS: float(torch.cat(distances).mean())}

    @torch.no_grad()
    def score_structure(network: nn.Module, sources: Images, outputs: Images) -> dict[str, float]:
        """Return the mean structure distance between an input and its translation."""
        network.to(device)
        distances = [
            structure_distances(network(source), network(output)) for source, output in pairs(sources, outputs)
        ]
        network.to("cpu")
        return {DINO_STRUCTURE: float(torch.cat(distances).mean())}

    def score_edges(sources: Images, outputs: Images) -> dict[str, float]:
        """Return how far the edges of an input and of its translation agree, on average."""
        return {EDGES: float(torch.cat([edges_kept(*pair) for pair in pairs(sources, outputs)]).mean())}

    def score_segmentation(path: str, truth: Truth | None, sources: Images, outputs: Images) -> dict[str, float]:
        """Return how well a network recovers the labels of A, and the objects in them, from the photographs that are
        their translations."""
        segmenter = load_segmenter(path, device)
        matrices: list[Tensor] = []
        found: list[Tensor] = []
        for labels, photographs in pairs(sources, outputs):
            ids, predicted = class_ids(labels), segmenter.predict(photographs)
            matrices.append(confusion_matrix(ids, predicted))
            found.append((are_objects(predicted) & (ids != IGNORED)).cpu())
        content = content_scores(truth, torch.cat(found).numpy()) if truth else {}
        return {**segmentation_scores(torch.stack(matrices).sum(0)), **content}

    metrics: list[ExtraMetric] = []
    if LPIPS in config.also:
        network = load_lpips()
        metrics.append(ExtraMetric(partial(score_lpips, network), {Tag.LPIPS_VGG16: weights_digest(network)}))
    if DINO_STRUCTURE in config.also:
        network = load_dino()
        metrics.append(ExtraMetric(partial(score_structure, network), {Tag.DINO: weights_digest(network)}))
    if EDGES in config.also:
        metrics.append(ExtraMetric(score_edges, {}))
    if config.segmentation is not None:
        # Loaded here only to try it. It is loaded again for each use, so that training has its memory.
        segmenter = load_segmenter(config.segmentation, torch.device("cpu"))
        for some in in_batches(sources[:2], 2):
            segmenter.predict(some)
        ids = torch.cat([class_ids(labels) for labels in in_batches(sources, config.batch_size)])
        objects = are_objects(ids)
        # A few labels may have no object. Then there are the scores of pixels alone.
        truth = truth_of(objects.numpy(), (ids != IGNORED).numpy()) if objects.any() else None
        score = partial(score_segmentation, config.segmentation, truth)
        metrics.append(ExtraMetric(score, {Tag.SEGMENTER: segmenter.weights}))
    return metrics


def require_networks(config: MetricConfig) -> None:
    """Raise UserError if a network that the metrics need is not available."""
    cpu = torch.device("cpu")
    enough, none = (np.empty((count, 3, 0, 0), np.uint8) for count in (NEIGHBOURS + 1, 0))
    load_extractor(config.extractor, config.weights)
    set_metrics(config, enough, enough, Path(), cpu)
    pair_metrics(config, none, cpu)


def background_change(background: NDArray[np.bool_], sources: Images, outputs: Images) -> dict[str, float]:
    """Return the mean absolute difference where `background` (N, H, W) is true, in 8-bit levels."""
    difference = np.abs(sources.astype(np.int16) - outputs.astype(np.int16)).mean(axis=1)
    return {"background_change": float(difference[background].mean())}


def _require_neighbours(count: int) -> None:
    if count <= NEIGHBOURS:
        raise UserError(f"metric.also=[precision_recall]: {count} images. Each of the two sets needs {NEIGHBOURS + 1}")
