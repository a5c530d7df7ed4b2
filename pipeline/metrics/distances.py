"""Distances between two sets of images, computed from their features.

N, M images, D dimensions of a feature, K = min(N, D).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

KID_SUBSETS = 100
# Kynkäänniemi et al., NeurIPS 2019: an image counts if it is nearer to an image of the other set than that image's
# third neighbour in its own set.
NEIGHBOURS = 3


@dataclass(frozen=True)
class Statistics:
    """The Gaussian fitted to features, in float64: mean (D) and a factor (K, D). The covariance is factor' factor."""

    mean: Tensor
    factor_KD: Tensor


def statistics_of(features_ND: Tensor) -> Statistics:
    """Return the mean and the sample covariance of features, in float64."""
    features_ND = features_ND.double()
    mean = features_ND.mean(0)
    factor_ND = (features_ND - mean) / (len(features_ND) - 1) ** 0.5
    if len(factor_ND) <= factor_ND.shape[1]:
        return Statistics(mean, factor_ND)
    return Statistics(mean, torch.linalg.qr(factor_ND, mode="r").R)


def frechet_distance(one: Statistics, two: Statistics) -> float:
    """Return |m1 - m2|^2 + Tr(S1 + S2 - 2 sqrt(S1 S2)) (Heusel et al., NeurIPS 2017, equation 6).

    With S1 = F1' F1 and S2 = F2' F2, the trace of the root is the sum of the singular values of F1 F2'. This matrix has
    at most as many rows and columns as there are images. torch-fidelity takes the eigenvalues of the D x D product.
    """
    root = torch.linalg.svdvals(one.factor_KD @ two.factor_KD.T).sum()
    trace_1, trace_2 = (float(statistics.factor_KD.square().sum()) for statistics in (one, two))
    return float((one.mean - two.mean).square().sum() - 2 * root) + trace_1 + trace_2


def kid_subset(subset_size: int, count_1: int, count_2: int) -> int:
    """Return the number of images in a subset: `subset_size`, but at most half of the smaller set.

    Larger subsets would hardly differ, and the standard deviation of KID would look too small.
    """
    return min(subset_size, max(2, min(count_1, count_2) // 2))


def kernel_distance(features_1: Tensor, features_2: Tensor, subset_size: int) -> tuple[float, float]:
    """Return KID (Bińkowski et al., ICLR 2018) by torch-fidelity, of features (N, D) and (M, D) on the CPU.

    It is the polynomial MMD: mean and standard deviation over subsets, whose size `kid_subset` gives. They are drawn
    from torch-fidelity's fixed seed.
    """
    subset = kid_subset(subset_size, len(features_1), len(features_2))
    found = kid_features_to_metric(
        features_1, features_2, kid_subsets=KID_SUBSETS, kid_subset_size=subset, verbose=False
    )
    return found[KEY_METRIC_KID_MEAN], found[KEY_METRIC_KID_STD]


def precision_recall(generated: Tensor, real: Tensor) -> tuple[float, float]:
    """Return improved precision and recall (Kynkäänniemi et al., NeurIPS 2019) by torch-fidelity.

    They are the fractions of the generated (N, D) and of the real features (M, D) that lie within the neighbourhoods of
    the other set. N and M must be greater than NEIGHBOURS.
    """
    found = prc_features_to_metric(generated, real, prc_neighborhood=NEIGHBOURS, verbose=False)
    return found[KEY_METRIC_PRECISION], found[KEY_METRIC_RECALL]


def nearest_neighbours(queries: Tensor, candidates: Tensor) -> list[int]:
    """Return the index of the nearest candidate by Euclidean distance, for each row of features."""
    return torch.cdist(queries, candidates).argmin(1).tolist()
