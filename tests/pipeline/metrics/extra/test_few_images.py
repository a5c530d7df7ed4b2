"""The error and the bias of a Fréchet distance of few images, of Gaussians whose distance is known."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.config.schema import Config
from pipeline.data.dataset_cache import open_dataset, prepare
from pipeline.errors import UserError
from pipeline.metrics.distances import frechet_distance, statistics_of
from pipeline.metrics.evaluator import Evaluator
from pipeline.metrics.extra.few_images import bootstrap_error, extrapolated_distance

DIMENSIONS = 32
# Of the means' differences and of the deviations, which are 1 and 1.2.
TRUE_DISTANCE = DIMENSIONS * (0.3**2 + 0.2**2)


def two_sets(count: int, seed: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    one, two = (torch.randn(count, DIMENSIONS, generator=rng) for _ in range(2))
    return one, 1.2 * two + 0.3


def distance(one: Tensor, two: Tensor) -> float:
    return frechet_distance(statistics_of(one), statistics_of(two))


def test_extrapolation_takes_away_most_of_the_bias_of_few_images() -> None:
    pairs = [two_sets(128, seed) for seed in range(6)]
    biased = sum(distance(*pair) for pair in pairs) / len(pairs) - TRUE_DISTANCE
    left = sum(extrapolated_distance(*pair)[0] for pair in pairs) / len(pairs) - TRUE_DISTANCE
    assert biased > 1
    assert abs(left) < biased / 4


def test_extrapolating_twice_gives_the_same_digits() -> None:
    assert extrapolated_distance(*two_sets(40, 0)) == extrapolated_distance(*two_sets(40, 0))


def test_the_bootstrap_knows_how_far_other_images_would_move_the_distance() -> None:
    real = statistics_of(two_sets(2000, 0)[1])
    found = [frechet_distance(statistics_of(two_sets(200, seed)[0]), real) for seed in range(1, 41)]
    spread = float(torch.tensor(found).std())
    error = bootstrap_error(two_sets(200, 1)[0], real)
    assert 0.5 * spread < error < 2 * spread


def test_the_bootstrap_of_fewer_images_than_dimensions_is_too_large_and_not_too_small() -> None:
    real = statistics_of(two_sets(2000, 0)[1])
    few = [two_sets(16, seed)[0] for seed in range(1, 41)]
    spread = float(torch.tensor([frechet_distance(statistics_of(images), real) for images in few]).std())
    assert spread < bootstrap_error(few[0], real) < 3 * spread


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_images_are_refused(count: int) -> None:
    with pytest.raises(UserError, match=f"extrapolated.*: {count} images"):
        extrapolated_distance(*two_sets(count, 0))


def test_three_images_are_enough() -> None:
    assert all(map(math.isfinite, extrapolated_distance(*two_sets(3, 0))))


def test_equal_images_have_no_error() -> None:
    assert bootstrap_error(torch.ones(5, 3), statistics_of(torch.zeros(5, 3))) == pytest.approx(0)


def test_the_extrapolated_distance_is_recorded_beside_the_distance_if_it_is_asked_for(
    tiny: Callable[..., Config], tmp_path: Path
) -> None:
    config = tiny("metric.also=[extrapolated]")
    dataset = open_dataset(prepare(config.data, tmp_path).folder)
    evaluator = Evaluator(dataset, config.metric, torch.device("cpu"), tmp_path)
    found = evaluator.evaluate(lambda images: images)
    limit, deviation = extrapolated_distance(found.features, evaluator.features_b)
    assert found.scores["fd_small_conv_infinity"] == limit != found.scores["fd_small_conv"]
    assert found.scores["fd_small_conv_infinity_std"] == deviation
