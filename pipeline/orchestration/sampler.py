"""A search: its next sample, by Optuna from the scores of earlier ones, and when Ray Tune halves its trials."""

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pipeline.config.search_space import Distribution, Sample, Search
from pipeline.config.sweep_file import sampled_row
from pipeline.errors import UserError
from pipeline.orchestration.planner import Plan, Records, replan, score_of
from pipeline.trial.job import Rungs

# How often to sample again after a sample that was rejected, before the search counts as exhausted.
MOST_ATTEMPTS = 20


def add_sample(plan: Plan, records: Records, log: logging.Logger) -> Plan:
    """Return the plan with the search's next row, from the scores of earlier rows; the same plan if none is left."""
    search = plan.sweep.search
    if search is None or not plan.samples_to_draw:
        return plan
    settings = {row.row: row.set for row in plan.sweep.rows}
    observed = [
        (settings[planned.trial.row], score)
        for planned in plan.trials
        if (score := score_of(planned.record, plan.metric)) is not None
    ]
    number = search.samples - plan.samples_to_draw
    for attempt in range(MOST_ATTEMPTS):
        row = sampled_row(number, next_sample(search, observed, number + attempt * search.samples))
        try:
            return replan(plan, plan.sweep.with_rows(row), records)
        except UserError as error:  # the same as an earlier sample, or no valid model
            log.info("Sample rejected: %s (%s)", row.set, error)
    return plan


def halving_rungs(plan: Plan) -> Rungs | None:
    """Return when the search halves its trials, with the scores of trials that have ended; None without a search."""
    search = plan.sweep.search
    if search is None:
        return None
    epochs, every_epochs = plan.config.train.epochs, plan.config.metric.every_epochs
    records = plan.tracker.find_trials()
    ended = {
        planned.key: record.run_id
        for planned in plan.trials
        if (record := records.get(planned.key)) and record.status in plan.final_statuses
    }
    histories = plan.tracker.score_histories(list(ended.values()), plan.metric)
    earlier = {
        key: [(step // plan.steps_per_epoch, score) for step, score in histories[run_id]]
        for key, run_id in ended.items()
    }
    return Rungs(search.halving.first_epoch(epochs, every_epochs), search.halving.reduction, epochs, earlier)


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
    choices = [name for name, known in search.space.items() if known.choice is not None]
    for sample, score in observed:
        # Optuna's categories are plain values; ours may be lists.
        values = {name: json.dumps(value) if name in choices else value for name, value in sample.items()}
        with suppress(ValueError):  # the sample has other fields, or is outside of the search space
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


def _from_optuna(distribution: Distribution, value: Any) -> Any:
    if distribution.choice is not None:
        return json.loads(value)
    return distribution.rounded(value)
