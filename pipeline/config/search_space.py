"""A search: settings sampled from distributions; successive halving stops the worse half of the trials early.

Halving compares trials that have trained equally long, so it can be wrong about settings that learn slowly. It must
never stop the rows of an ablation (docs/sweeps.md).
"""

import math
import random
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from models.configs.limits import require
from pipeline.config.fields import MOST_SETTINGS, Seed


@dataclass(frozen=True)
class Distribution:
    """The distribution of a field's values: uniform or loguniform between two bounds, or a choice."""

    uniform: tuple[float, float] | None = None
    loguniform: tuple[float, float] | None = None
    choice: tuple[Any, ...] | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("uniform", "loguniform", "choice") if getattr(self, name) is not None]
        require(len(given) == 1, "give one of uniform: [low, high], loguniform: [low, high] and choice: [...]")
        low, high = self.bounds
        require(
            math.isfinite(low) and math.isfinite(high) and low < high, f"low must be below high, found {low}, {high}"
        )
        require(self.loguniform is None or low > 0, f"loguniform needs bounds above 0, found {low}, {high}")
        require(self.choice is None or len(self.choice) > 0, "choice is empty. Give at least one value")

    @property
    def bounds(self) -> tuple[float, float]:
        """The bounds of an interval; (0, 1) for a choice."""
        return self.uniform or self.loguniform or (0.0, 1.0)

    def rounded(self, value: float) -> float:
        """Round to three digits within the bounds, since people read samples and write them into sweep files."""
        low, high = self.bounds
        return min(max(float(f"{value:.3g}"), low), high)


@dataclass(frozen=True)
class Halving:
    """Ray Tune's ASHA. It stops trials first at `first_share` of the epochs, then at each `reduction` times that epoch.

    Each time the best 1 / reduction of the trials that have got there go on.
    """

    first_share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    reduction: Annotated[int, Field(ge=2, le=1000)] = 2

    def first_epoch(self, epochs: int, every_epochs: int) -> int:
        """Return the first epoch of halving: the first with an evaluation at or after `first_share` of the epochs."""
        return min(epochs, every_epochs * math.ceil(self.first_share * epochs / every_epochs))


@dataclass(frozen=True)
class Search:
    """The number of samples, their distributions, and how halving stops them.

    sampler: 'random' draws all samples before the training. 'optuna' draws each one with a tree-structured Parzen
    estimator from the scores of the earlier ones. The extra 'search' installs Optuna.
    """

    samples: Annotated[int, Field(ge=1, le=1000)]
    space: Annotated[dict[str, Distribution], Field(max_length=MOST_SETTINGS)]
    halving: Halving = Halving()
    sampler: Literal["random", "optuna"] = "random"
    sampler_seed: Seed = 0

    def __post_init__(self) -> None:
        require(len(self.space) > 0, "space is empty. Give at least one field, as in model.temperature: {…}")
        require("seed" not in self.space, "space contains seed. Set it for the whole sweep: seeds: [0]")


Sample = dict[str, Any]


def random_samples(search: Search) -> list[Sample]:
    """Return the samples, all different. Each has its own random stream, so more samples begin with the same ones."""
    drawn: list[Sample] = []
    # A small space may not contain that many different samples.
    for number in range(20 * search.samples):
        rng = random.Random(f"{search.sampler_seed}/{number}")
        sample = {name: _draw(distribution, rng) for name, distribution in search.space.items()}
        if sample not in drawn:
            drawn.append(sample)
        if len(drawn) == search.samples:
            break
    return drawn


def _draw(distribution: Distribution, rng: random.Random) -> Any:
    if distribution.choice is not None:
        return rng.choice(distribution.choice)
    low, high = distribution.bounds
    if distribution.loguniform:
        return distribution.rounded(math.exp(rng.uniform(math.log(low), math.log(high))))
    return distribution.rounded(rng.uniform(low, high))
