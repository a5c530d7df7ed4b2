"""The number of seeds that a paired t-test needs."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.power import MOST_SEEDS, POWER, power, seeds_needed


# Of G*Power and Cohen's book, for 80 % power at 5 %, two-sided.
@pytest.mark.parametrize(("ratio", "seeds"), [(0.2, 199), (0.3, 90), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_seeds_are_those_of_textbooks(ratio: float, seeds: int) -> None:
    assert seeds_needed(ratio, 1.0) == seeds_needed(-3 * ratio, 3.0) == seeds


def test_power_is_how_often_a_test_shows_a_difference() -> None:
    samples = np.random.default_rng(0).normal(1.2, 1, (20_000, 5))
    shown = np.mean(stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05)
    assert power(1.2, 5) == pytest.approx(shown, abs=0.01)


@pytest.mark.parametrize("level", [0.05, 0.05 / 7])
def test_the_seeds_are_the_fewest_that_reach_the_power(level: float) -> None:
    for ratio in np.geomspace(0.2, 1000, 60):
        seeds = seeds_needed(ratio, 1.0, level)
        assert seeds is not None and power(ratio, seeds, level) >= POWER
        assert seeds == 2 or power(ratio, seeds - 1, level) < POWER


def test_a_stricter_level_needs_more_seeds() -> None:
    assert seeds_needed(1.0, 1.0, 0.05 / 7) == 17


@pytest.mark.parametrize(
    ("difference", "spread"), [(0.0, 1.0), (0.0, 0.0), (math.nan, 1.0), (1.0, math.nan), (1e-9, 1.0)]
)
def test_nothing_is_said_without_a_difference_or_a_spread_or_for_absurd_numbers(
    difference: float, spread: float
) -> None:
    assert seeds_needed(difference, spread) is None


def test_the_limit_of_seeds_is_exact() -> None:
    ratios = np.linspace(0.08, 0.1, 200)
    found = [seeds_needed(ratio, 1.0) for ratio in ratios]
    assert None in found and max(seeds for seeds in found if seeds) <= MOST_SEEDS
    assert max(seeds for seeds in found if seeds) > MOST_SEEDS - 10


def test_a_difference_that_no_seed_changes_needs_two_seeds() -> None:
    assert seeds_needed(0.1, 0.0) == 2
