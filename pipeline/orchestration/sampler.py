"""Optuna's sampler: the next sample of a search, from the scores of earlier ones."""

import json
from collections.abc import Sequence
from typing import Any

from pipeline.config.search_space import Distribution, Sample, Search, _rounded
from pipeline.errors import UserError


def next_sample(search: Search, told: Sequence[tuple[Sample, float]], number: int) -> Sample:
    """Optuna's next sample, given the scores (lower is better) that samples have reached so far; those outside of the
    space, which may have been another then, tell it nothing. Another number draws another one.

    Raises UserError where Optuna is not installed.
    """
    try:
        import optuna  # an extra: most sweeps need no sampler
    except ImportError:
        raise UserError(
            "search.sampler is optuna, which is not installed; .venv/bin/pip install optuna, or set sampler: random"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {name: _optuna_distribution(optuna, known) for name, known in search.space.items()}
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=search.sampler_seed + number))
    for sample, score in told:
        if set(sample) != set(search.space) or not all(
            _holds(search.space[name], found) for name, found in sample.items()
        ):
            continue
        values = {name: _spelt(search.space[name], value) for name, value in sample.items()}
        study.add_trial(optuna.trial.create_trial(params=values, distributions=distributions, value=score))
    asked = study.ask(distributions).params
    return {name: _read(search.space[name], value) for name, value in asked.items()}


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


def _spelt(distribution: Distribution, value: Any) -> Any:
    # Optuna's categories are plain values, and ours may be lists.
    return json.dumps(value) if distribution.choice is not None else value


def _read(distribution: Distribution, value: Any) -> Any:
    if distribution.choice is not None:
        return json.loads(value)
    low, high = distribution.bounds
    return min(max(_rounded(value), low), high)


def _holds(distribution: Distribution, value: Any) -> bool:
    """Whether the distribution could have given the value."""
    if distribution.choice is not None:
        return value in distribution.choice
    low, high = distribution.bounds
    return isinstance(value, int | float) and low <= value <= high
