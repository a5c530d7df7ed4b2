"""A search: its next sample, and when Ray Tune halves its trials."""

import logging

from pipeline.config.sweep_file import sampled_row
from pipeline.errors import UserError
from pipeline.metrics.names import metric_names
from pipeline.orchestration.planner import Plan, Records, replan, score_of
from pipeline.orchestration.sampler import next_sample
from pipeline.trial.job import Rungs

# How often to sample again after a sample that was rejected, before the search counts as exhausted.
MOST_ATTEMPTS = 20


def add_sample(plan: Plan, records: Records, log: logging.Logger) -> Plan:
    """Return the plan with the search's next row, from the scores of earlier rows; the same plan if none is left."""
    search = plan.sweep.search
    if search is None or not plan.samples_to_draw:
        return plan
    metric, _ = metric_names(plan.config.metric.extractor)
    settings = {row.row: row.set for row in plan.sweep.rows}
    observed = [
        (settings[planned.trial.row], score)
        for planned in plan.trials
        if (score := score_of(planned.record, metric)) is not None
    ]
    number = search.samples - plan.samples_to_draw
    for attempt in range(MOST_ATTEMPTS):
        row = sampled_row(number, next_sample(search, observed, number + attempt * search.samples))
        try:
            return replan(plan, plan.sweep.with_row(row), records)
        except UserError as error:  # the same as an earlier sample, or no valid model
            log.info("Sample rejected: %s (%s)", row.set, error)
    return plan


def halving_rungs(plan: Plan) -> Rungs | None:
    """Return when the search halves its trials, with the scores of trials that have ended; None without a search."""
    search = plan.sweep.search
    if search is None:
        return None
    train, every_epochs = plan.config.train, plan.config.metric.every_epochs
    epochs = train.constant_epochs + train.decay_epochs
    metric, _ = metric_names(plan.config.metric.extractor)
    records = plan.tracker.find_trials()
    earlier = {
        planned.key: [
            (step // plan.steps_per_epoch, score) for step, score in plan.tracker.score_history(record.run_id, metric)
        ]
        for planned in plan.trials
        if (record := records.get(planned.key)) and record.status in plan.final_statuses
    }
    return Rungs(search.halving.first_epoch(epochs, every_epochs), search.halving.reduction, epochs, earlier)
