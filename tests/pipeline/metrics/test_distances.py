import numpy as np
import pytest
import torch
from torch import Tensor
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

from pipeline.metrics.distances import (
    frechet_distance,
    kernel_distance,
    kid_subset,
    nearest_neighbours,
    precision_recall,
    statistics_of,
)


def features(count: int, dimensions: int, seed: int) -> Tensor:
    """Not negative and of uneven spread, as behind a ReLU and an average."""
    rng = torch.Generator().manual_seed(seed)
    scales = torch.rand(dimensions, generator=torch.Generator().manual_seed(99)) ** 2
    return (torch.randn(count, dimensions, generator=rng).abs() + seed / 10) * scales


def distance(one: Tensor, two: Tensor) -> float:
    return frechet_distance(statistics_of(one), statistics_of(two))


@pytest.mark.parametrize(
    ("count_1", "count_2", "dimensions"),
    [(12, 14, 300), (12, 400, 300), (400, 12, 300), (301, 300, 300), (400, 500, 300), (120, 140, 2048)],
)
def test_few_and_many_images_score_as_by_torch_fidelity(count_1: int, count_2: int, dimensions: int) -> None:
    one, two = features(count_1, dimensions, 1), features(count_2, dimensions, 2)
    theirs = fid_statistics_to_metric(*map(fid_features_to_statistics, (one, two)), verbose=False)[KEY_METRIC_FID]
    assert distance(one, two) == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("count", [40, 400])
def test_the_factor_squared_is_the_sample_covariance(count: int) -> None:
    found, drawn = statistics_of(features(count, 100, 1)), features(count, 100, 1).double()
    torch.testing.assert_close(found.factor_KD.T @ found.factor_KD, torch.cov(drawn.T))
    torch.testing.assert_close(found.mean, drawn.mean(0))
    assert float(found.factor_KD.square().sum()) == pytest.approx(float(torch.cov(drawn.T).trace()))
    assert len(found.factor_KD) == min(count, 100)


@pytest.mark.parametrize("dimensions", [3, 144])
def test_distance_of_gaussians_equals_the_closed_form(dimensions: int) -> None:
    """Independent coordinates: the squared distance of the means and of the standard deviations."""
    rng = np.random.default_rng(0)
    white = rng.standard_normal((400, dimensions))
    white = (white - white.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(white, rowvar=False))).T
    means, spreads = rng.uniform(-2, 2, dimensions), rng.uniform(0.5, 2, dimensions)
    expected = float((means**2).sum() + ((spreads - 1) ** 2).sum())
    assert distance(torch.from_numpy(white), torch.from_numpy(white * spreads + means)) == pytest.approx(expected)


@pytest.mark.parametrize("count", [40, 400])
def test_distance_of_a_set_to_itself_is_zero(count: int) -> None:
    assert abs(distance(features(count, 300, 1), features(count, 300, 1))) < 1e-9


def test_distance_is_the_same_both_ways() -> None:
    one, two = features(50, 300, 1), features(70, 300, 2)
    assert distance(one, two) == pytest.approx(distance(two, one), rel=1e-12)


def test_order_of_the_images_changes_nothing() -> None:
    one, two = features(50, 300, 1), features(70, 300, 2)
    assert distance(one.flip(0), two) == pytest.approx(distance(one, two), rel=1e-12)


def test_kernel_distance_is_torch_fidelitys() -> None:
    one, two = features(50, 300, 1), features(70, 300, 2)
    theirs = kid_features_to_metric(one, two, kid_subset_size=20, verbose=False)
    assert kernel_distance(one, two, 20) == (theirs[KEY_METRIC_KID_MEAN], theirs[KEY_METRIC_KID_STD])


def test_subsets_are_at_most_half_of_the_smaller_set() -> None:
    one, two = features(50, 300, 1), features(70, 300, 2)
    assert [kid_subset(1000, 50, 70), kid_subset(1000, 3, 70), kid_subset(20, 50, 70)] == [25, 2, 20]
    assert kernel_distance(one, two, 1000) == kernel_distance(one, two, 25)
    mean, deviation = kernel_distance(one, two, 1000)
    assert deviation > 0.05 * abs(mean)


def test_a_set_within_the_other_is_precise_and_does_not_recall_it() -> None:
    real = torch.cat([features(40, 5, 1), features(40, 5, 1) + 100])
    precision, recall = precision_recall(features(40, 5, 1), real)
    assert precision == 1
    assert recall == 0.5


def test_neighbours_are_the_nearest() -> None:
    candidates = torch.eye(4)
    assert nearest_neighbours(candidates[[2, 0]] * 1.1, candidates) == [2, 0]
