"""Optuna's sampler: the next sample of a search, from the scores of earlier ones."""

import json
from collections.abc import Sequence
from typing import Any

from pipeline.config.search_space import Distribution, Sample, Search, _rounded
from pipeline.errors import UserError


def next_sample(search: Search, observed: Sequence[tuple[Sample, float]], number: int) -> Sample:
    """Return Optuna's next sample, given earlier samples with their scores (lower is better).

    Earlier samples outside of the search space are ignored: the space may have been different then. Another number
    gives another sample. Raises UserError if Optuna is not installed.
    """
    try:
        import optuna  # an extra: most sweeps need no sampler
    except ImportError:
        raise UserError(
            "search.sampler is optuna, which is not installed. Set sampler: random, or run .venv/bin/pip install optuna"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {name: _optuna_distribution(optuna, known) for name, known in search.space.items()}
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=search.sampler_seed + number))
    for sample, score in observed:
        if set(sample) != set(search.space) or not all(
            _contains(search.space[name], found) for name, found in sample.items()
        ):
            continue
        values = {name: _to_optuna(search.space[name], value) for name, value in sample.items()}
        study.add_trial(optuna.trial.create_trial(params=values, distributions=distributions, value=score))
    asked = study.ask(distributions).params
    return {name: _from_optuna(search.space[name], value) for name, value in asked.items()}


def _optuna_distribution(optuna: Any, distribution: Distribution) -> Any:
    match distribution:
        case Distribution(choice=tuple() as values):
            return optuna.distributions.CategoricalDistribution([json.dumps(value) for value in values])
        case Distribution(loguniform=(low, high)):
            return optuna.distributions.FloatDistribution(low, high, log=True)
        case Distribution(uniform=(low, high)):
            return optuna.distributions.FloatDistribution(low, high)
        case _:
            raise AssertionError("a distribution has one of its three kinds")


def _to_optuna(distribution: Distribution, value: Any) -> Any:
    # Optuna's categories are plain values; ours may be lists.
    return json.dumps(value) if distribution.choice is not None else value


def _from_optuna(distribution: Distribution, value: Any) -> Any:
    if distribution.choice is not None:
        return json.loads(value)
    low, high = distribution.bounds
    return min(max(_rounded(value), low), high)


def _contains(distribution: Distribution, value: Any) -> bool:
    """Whether the value is in the distribution's range."""
    if distribution.choice is not None:
        return value in distribution.choice
    low, high = distribution.bounds
    return isinstance(value, int | float) and low <= value <= high
