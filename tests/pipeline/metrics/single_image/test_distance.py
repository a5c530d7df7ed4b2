"""The distance between two single images, against an independent formula and where it is known."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from pipeline.metrics.single_image.distance import single_image_distance


def by_definition(one: Tensor, two: Tensor) -> float:
    """|m1 - m2|^2 + Tr(S1 + S2 - 2 sqrt(S1 S2)) over positions, with the root of a matrix."""
    vectors = [found.double().flatten(1).T.numpy() for found in (one, two)]
    means, covariances = [x.mean(0) for x in vectors], [np.cov(x, rowvar=False) for x in vectors]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    return float(((means[0] - means[1]) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root))


def test_the_distance_is_that_of_its_definition() -> None:
    rng = torch.Generator().manual_seed(0)
    one, two = torch.rand(5, 9, 7, generator=rng), torch.randn(5, 6, 20, generator=rng)
    assert single_image_distance(one, two) == pytest.approx(by_definition(one, two), rel=1e-9)


def test_fewer_positions_than_channels_are_handled() -> None:
    rng = torch.Generator().manual_seed(1)
    one, two = torch.rand(30, 3, 3, generator=rng), torch.rand(30, 3, 4, generator=rng)
    # The root of a singular matrix is inexact.
    assert single_image_distance(one, two) == pytest.approx(by_definition(one, two), rel=1e-5)


def test_an_image_is_at_distance_0_from_itself_and_from_its_pixels_in_another_order() -> None:
    one = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(2))
    assert single_image_distance(one, one) == pytest.approx(0, abs=1e-12)
    assert single_image_distance(one, one.flip(1).transpose(1, 2)) == pytest.approx(0, abs=1e-12)


def test_shift_and_scale_give_the_distances_of_gaussians() -> None:
    one = torch.randn(3, 10, 10, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    # Means differ by 2 in each of 3 channels; covariances are equal.
    assert single_image_distance(one, one + 2) == pytest.approx(12)
    # Around the mean, scaled by 3: trace (1 - 3)^2 of the covariance, which has n - 1 in its denominator.
    mean = one.mean((1, 2), keepdim=True)
    expected = 4 * float(one.flatten(1).var(1, correction=1).sum())
    assert single_image_distance(one, mean + 3 * (one - mean)) == pytest.approx(expected)
