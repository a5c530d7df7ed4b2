"""Record a planned sweep: a run for every trial, and what tables need to know of the sweep."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from analysis.records.manifest import Manifest, SweepRow
from analysis.records.names import Tag, row_tag, settings_tag
from pipeline.config.sweep_file import SWEEPS, Row
from pipeline.config.trial_key import RESULT_VERSION, can_change_results, keyed_fields, leaves
from pipeline.orchestration.planner import Plan, PlannedTrial, checkpoint_path
from pipeline.orchestration.requirements import Requirement
from pipeline.trial.job import Outcome, TrialJob


def register_trials(
    plan: Plan, requirements: Sequence[Requirement] = (), *, retry_failed: bool = False
) -> list[TrialJob]:
    """Record the sweep, with a run for every trial, and return a job for each trial that is left to train.

    requirements: from `estimate_requirements`; not needed if nothing is left to train. The records are read again under
    the store's lock, so that of two sweeps that start at once only one creates a trial's run.
    """
    assert plan.data is not None, "a plan without data is only printed"
    provenance = {
        Tag.DATA_FINGERPRINT: plan.data.fingerprint,
        Tag.COMMIT: _commit(),
        Tag.RESULT_VERSION: str(RESULT_VERSION),
    }
    left = {planned.key for planned in plan.to_train(retry_failed=retry_failed)}
    data_folder = str(plan.data.folder.absolute())
    requirement_of = dict(zip((planned.key for planned in plan.trials), requirements, strict=False))
    settings = {row.row: json.dumps(row.set) for row in plan.sweep.rows}
    jobs: list[TrialJob] = []
    with plan.tracker.lock:
        known = {planned.key: planned.record for planned in plan.trials if planned.record}
        records = plan.tracker.find_trials() if left else known
        plan.tracker.record_sweep(make_manifest(plan))
        for planned in plan.trials:
            trial, record = planned.trial, records.get(planned.key)
            tags = {row_tag(plan.sweep.name): trial.row, settings_tag(plan.sweep.name): settings[trial.row]}
            name = f"{trial.row}, seed {trial.seed}"
            run_id = record.run_id if record else plan.tracker.create_trial(planned.key, name)
            if planned.key in left:
                requirement = requirement_of[planned.key]
                jobs.append(_job(plan, planned, run_id, data_folder, requirement, retry_failed=retry_failed))
                # MLflow never changes a parameter, and those of the key are the same in every run of that key.
                tags |= {**provenance, Tag.WORK: requirement.cost.work}
                plan.tracker.log_settings(run_id, keyed_fields(trial.config), tags)
            elif record is None or not tags.items() <= record.tags.items():
                plan.tracker.log_settings(run_id, {}, tags)
    return jobs


def end_trial(plan: Plan, run_id: str, outcome: Outcome, epoch: int) -> None:
    """End the run of a trial that could not end it itself: it died, or the search stopped it after an epoch.

    A run that has ended already stays as it is.
    """
    if outcome == Outcome("stopped"):
        plan.tracker.end_trial(run_id, "KILLED", {Tag.STOPPED: f"by the search after epoch {epoch}"})
    elif outcome.ending in ("died", "failed", "memory"):
        plan.tracker.end_trial(run_id, "FAILED", {Tag.ERROR: outcome.reason})


def _job(
    plan: Plan, planned: PlannedTrial, run_id: str, data_folder: str, requirement: Requirement, *, retry_failed: bool
) -> TrialJob:
    # Later evaluations must use as many threads as the training.
    compute = replace(planned.trial.config.compute, cpus_per_trial=requirement.share.cpus)
    config = replace(planned.trial.config, compute=compute)
    return TrialJob(
        config,
        planned.key,
        run_id,
        data_folder,
        checkpoint=str(checkpoint_path(config, planned.key)),
        cache=str(Path(config.paths.cache).absolute()),
        tracking_uri=plan.tracker.uri,
        share=requirement.share,
        final_statuses=plan.final_statuses if retry_failed else (*plan.final_statuses, "FAILED"),
    )


def make_manifest(plan: Plan) -> Manifest:
    """Return what tables need to know of a sweep."""
    keys: dict[str, dict[int, str]] = {row.row: {} for row in plan.sweep.rows}
    for planned in plan.trials:
        keys[planned.trial.row][planned.trial.seed] = planned.key
    axes = tuple(dict.fromkeys(name for row in plan.sweep.rows for name in row.set))
    return Manifest(
        sweep=plan.sweep.name,
        question=plan.sweep.question,
        task=plan.task,
        default=plan.sweep.default or plan.sweep.rows[0].row,
        result_version=str(RESULT_VERSION),
        rows=tuple(SweepRow(row.row, row.paper, keys[row.row], _settings(plan, row, axes)) for row in plan.sweep.rows),
        axes=axes,
        base=tuple(plan.sweep.base),
        overrides=tuple(text for text in plan.overrides if can_change_results(text)),
        price_per_hour=plan.config.compute.price_per_hour,
        command=tuple(plan.overrides),
        file=plan.sweep.name if Path(plan.sweep.place).parent == SWEEPS else plan.sweep.place,
    )


def _settings(plan: Plan, row: Row, axes: Sequence[str]) -> dict[str, Any]:
    """Return a row's settings: fields that any row sets, all fields of the model, and the chosen option of a group."""
    config = next(planned.trial.config for planned in plan.trials if planned.trial.row == row.row)
    fields = dict(leaves(asdict(config)))
    shared = dict(text.split("=", 1) for text in (*plan.sweep.base, *plan.overrides) if "=" in text)
    # The default model.
    shared.setdefault("model", "cut")
    chosen = {name: row.set.get(name, shared.get(name)) for name in axes if name not in fields}
    asked = {name: value for name, value in fields.items() if name in axes or name.startswith("model.")}
    return {**chosen, **asked}


def _commit() -> str:
    """Return the commit of the code, with '+' if files differ from it; 'unknown' outside a repository."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "unknown"
