"""A search: settings sampled from stated distributions, tried for a while each, the worse half dropped; pure.

Successive halving compares trials that have trained equally long, so it may be wrong about those that come late: the
rows of an ablation must never be stopped by it (docs/sweeps.md).
"""

import math
import random
from dataclasses import dataclass
from typing import Any, Literal

from models.configs import require


@dataclass(frozen=True)
class Distribution:
    """Where a field's values come from: one of uniform or loguniform between two bounds, or a choice."""

    uniform: tuple[float, float] | None = None
    loguniform: tuple[float, float] | None = None
    choice: tuple[Any, ...] | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("uniform", "loguniform", "choice") if getattr(self, name) is not None]
        require(len(given) == 1, "give one of uniform: [low, high], loguniform: [low, high] and choice: [...]")
        low, high = self.bounds
        require(math.isfinite(low) and math.isfinite(high) and low < high, f"needs low < high; found {low}, {high}")
        require(self.loguniform is None or low > 0, f"loguniform needs bounds above 0; found {low}, {high}")
        require(self.choice is None or len(self.choice) > 0, "choice is empty; give at least one value")

    @property
    def bounds(self) -> tuple[float, float]:
        """Of an interval; (0, 1) for a choice."""
        return self.uniform or self.loguniform or (0.0, 1.0)


@dataclass(frozen=True)
class Halving:
    """Ray Tune's ASHA: at `first_share` of the epochs, and at each `reduction` times that, all but the best
    1 / reduction of the trials that came so far are stopped."""

    first_share: float = 0.25
    reduction: int = 2

    def __post_init__(self) -> None:
        require(0 < self.first_share < 1, f"first_share is {self.first_share}; it must lie between 0 and 1")
        require(self.reduction >= 2, f"reduction is {self.reduction}; it must be at least 2")

    def first_epoch(self, epochs: int, every_epochs: int) -> int:
        """The first epoch of halving: one with an evaluation, at the share of the budget or just behind it."""
        return min(epochs, every_epochs * math.ceil(self.first_share * epochs / every_epochs))


@dataclass(frozen=True)
class Search:
    """How many samples are drawn from which distributions, and how they are halved.

    sampler: random draws all of them beforehand; optuna draws each with a tree-structured Parzen estimator from what
    the earlier ones reached (the extra 'search' installs it).
    """

    samples: int
    space: dict[str, Distribution]
    halving: Halving = Halving()
    sampler: Literal["random", "optuna"] = "random"
    sampler_seed: int = 0

    def __post_init__(self) -> None:
        require(1 <= self.samples <= 1000, f"samples is {self.samples}; it must lie between 1 and 1000")
        require(len(self.space) > 0, "space is empty; give at least one field, as in model.temperature: {…}")
        require("seed" not in self.space, "space names seed; seeds belong to the whole sweep")


Sample = dict[str, Any]


def random_samples(search: Search) -> list[Sample]:
    """All samples, each from a stream of its own, so that the first of more are the same; none twice."""
    drawn: list[Sample] = []
    # A space of few choices may not hold as many different samples.
    for number in range(20 * search.samples):
        rng = random.Random(f"{search.sampler_seed}/{number}")
        sample = {name: _draw(distribution, rng) for name, distribution in search.space.items()}
        if sample not in drawn:
            drawn.append(sample)
        if len(drawn) == search.samples:
            break
    return drawn


def _draw(distribution: Distribution, rng: random.Random) -> Any:
    match distribution:
        case Distribution(choice=tuple() as values):
            return rng.choice(values)
        case Distribution(loguniform=(low, high)):
            return min(max(_rounded(math.exp(rng.uniform(math.log(low), math.log(high)))), low), high)
        case Distribution(uniform=(low, high)):
            return min(max(_rounded(rng.uniform(low, high)), low), high)
        case _:
            raise AssertionError("a distribution has one of its three kinds")


def _rounded(value: float) -> float:
    """Three digits: a sample is read, compared and written into sweep files by people."""
    return float(f"{value:.3g}")
