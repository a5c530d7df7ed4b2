"""Features of images and distances between sets of them. All of it torch-fidelity's."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric
from torch_fidelity.utils import create_feature_extractor

from pipeline import small_extractor
from pipeline.errors import UserError, first_line
from pipeline.metrics import INCEPTION, SMALL_CONV, has_weights

LAYERS = {INCEPTION: "2048", SMALL_CONV: small_extractor.LAYER}


@dataclass(frozen=True)
class Distances:
    """frechet: squared distance of fitted Gaussians. kernel: polynomial MMD, mean and deviation over subsets."""

    frechet: float
    kernel: float
    kernel_deviation: float


@lru_cache(maxsize=2)
def load_extractor(name: str, weights: str | None, device: torch.device) -> FeatureExtractorBase:
    """The extractor, once a process. Raises UserError where Inception's weights cannot be had."""
    if name == SMALL_CONV:
        small_extractor.register()
        return create_feature_extractor(name, [LAYERS[name]], cuda=device.type == "cuda", verbose=False)
    place = inception_weights(weights)
    try:
        return create_feature_extractor(
            name,
            [LAYERS[name]],
            cuda=device.type == "cuda",
            verbose=False,
            feature_extractor_weights_path=str(place) if place.exists() else None,
        )
    except OSError:
        raise UserError(
            f"Inception's weights are not at {place} and {URL_INCEPTION_V3} cannot be reached; fetch that file on a "
            f"machine that can and put it there, or give its path as metric.weights=…"
        ) from None
    except Exception as error:
        raise UserError(
            f"{place}: not the weights of torch-fidelity's Inception ({first_line(error)}); fetch them again"
        ) from None


def inception_weights(weights: str | None) -> Path:
    """The file that is read: the one given, else torch-fidelity's own place.

    Raises UserError where a given one is absent.
    """
    if weights is None:
        return Path(torch.hub.get_dir()) / "checkpoints" / URL_INCEPTION_V3.rsplit("/", 1)[-1]
    if not Path(weights).is_file():
        raise UserError(
            f"metric.weights={weights}: no such file; give the path of {URL_INCEPTION_V3.rsplit('/', 1)[-1]}"
        )
    return Path(weights)


def weights_fingerprint(name: str, weights: str | None) -> str:
    """The first 8 digits of the weights' SHA-256, which torch-fidelity's file has in its name; '' for fixed filters."""
    if not has_weights(name):
        return ""
    if weights is None:
        return Path(URL_INCEPTION_V3).stem.rsplit("-", 1)[-1]
    return hashlib.sha256(inception_weights(weights).read_bytes()).hexdigest()[:8]


@torch.no_grad()
def extract(extractor: FeatureExtractorBase, batches: Iterable[Tensor], device: torch.device) -> Tensor:
    """8-bit images (B, 3, H, W), batch by batch -> features (N, D) in float32 on the CPU."""
    return torch.cat([extractor(batch.to(device))[0].float().cpu() for batch in batches])


def in_batches(images: NDArray[np.uint8 | np.uint16], size: int) -> Iterable[Tensor]:
    """An array of images as tensors of up to `size` images."""
    return (torch.from_numpy(np.array(images[first : first + size])) for first in range(0, len(images), size))


def distances(features_1: Tensor, features_2: Tensor, kid_subset_size: int) -> Distances:
    """Fréchet and kernel distance between two sets of features (N, D) and (M, D).

    KID's subsets are no larger than the smaller set; they are drawn from torch-fidelity's fixed seed.
    """
    statistics = [fid_features_to_statistics(features) for features in (features_1, features_2)]
    subset = min(kid_subset_size, len(features_1), len(features_2))
    kernel = kid_features_to_metric(features_1, features_2, kid_subset_size=subset, verbose=False)
    return Distances(
        frechet=fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID],
        kernel=kernel[KEY_METRIC_KID_MEAN],
        kernel_deviation=kernel[KEY_METRIC_KID_STD],
    )


def nearest_neighbours(queries: Tensor, candidates: Tensor) -> list[int]:
    """For each row of features the number of the nearest candidate, by Euclidean distance."""
    return torch.cdist(queries, candidates).argmin(1).tolist()
