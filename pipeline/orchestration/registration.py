"""Record a planned sweep: a run for every trial, and what tables need to know of the sweep."""

import json
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from analysis.records.names import RUN_NAME, SINGLE, Tag, member_tag, row_tag, settings_tag
from analysis.records.schema import Manifest, SweepRecord, SweepRow
from analysis.store.reader import trial_line
from pipeline.config.places import stored_trial
from pipeline.config.sweep_file import SWEEPS, Row
from pipeline.config.trial_key import RESULT_VERSION, can_change_results, keyed_fields, leaves
from pipeline.orchestration.planner import Plan, PlannedTrial, checkpoint_path
from pipeline.orchestration.requirements import Requirement
from pipeline.tracking.store import TrialRecord
from pipeline.trial.job import TrialJob


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
        **({Tag.LEFT_OUT: str(len(plan.data.left_out))} if plan.data.left_out else {}),
    }
    left = {planned.key for planned in plan.to_train(retry_failed=retry_failed)}
    final_statuses = plan.final_statuses if retry_failed else (*plan.final_statuses, "FAILED")
    settings = {row.row: json.dumps(row.set) for row in plan.sweep.rows}
    jobs: list[TrialJob] = []
    with plan.tracker.lock:
        known = {planned.key: planned.record for planned in plan.trials if planned.record}
        records = plan.tracker.find_trials() if left else known
        taken = {record.tags.get(RUN_NAME, "") for record in records.values()}
        plan.tracker.record_sweep(make_manifest(plan))
        member = member_tag(plan.sweep.name)
        for record in plan.former:
            if record.tags.get(member) != "no":
                plan.tracker.tag_trial(record.run_id, {member: "no"})
        for number, planned in enumerate(plan.trials):
            trial, config, record = planned.trial, planned.trial.config, records.get(planned.key)
            tags = {row_tag(plan.sweep.name): trial.row, settings_tag(plan.sweep.name): settings[trial.row]}
            tags |= {member: "yes"}
            name = run_name(planned, alone=plan.sweep.name == SINGLE, taken=taken)
            run_id = record.run_id if record else plan.tracker.create_trial(planned.key, name)
            if planned.key in left:
                share, cost = requirements[number].share, requirements[number].cost
                job = TrialJob(
                    # Later evaluations must use as many threads as the training.
                    replace(config, compute=replace(config.compute, cpus_per_trial=share.cpus)),
                    planned.key,
                    run_id,
                    data_folder=str(plan.data.folder.absolute()),
                    checkpoint=str(checkpoint_path(config, planned.key)),
                    cache=str(Path(config.paths.cache).absolute()),
                    tracking_uri=plan.tracker.uri,
                    share=share,
                    final_statuses=final_statuses,
                    stored=stored_trial(config.paths, planned.key),
                )
                jobs.append(job)
                if record and record.tags.get(Tag.STOP_REQUESTED):
                    tags |= {Tag.STOP_REQUESTED: ""}
                # MLflow never changes a parameter, and those of the key are the same in every run of that key.
                plan.tracker.log_settings(run_id, keyed_fields(config), {**tags, **provenance, Tag.WORK: cost.work})
            elif record is None or not tags.items() <= record.tags.items():
                plan.tracker.log_settings(run_id, {}, tags)
    return jobs


def run_name(planned: PlannedTrial, *, alone: bool, taken: Collection[str]) -> str:
    """Return the name of a trial's run: its row (alone: its method) and seed, and its key if the name is taken.

    The same row of other settings, or of another sweep, has the same name.
    """
    of = planned.trial.config.model.method if alone else planned.trial.row
    name = f"{of}, seed {planned.trial.seed}"
    return f"{name}, {planned.key[:8]}" if name in taken else name


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


def recorded_so_far(plan: Plan) -> SweepRecord:
    """Return what is recorded of the plan's trials, whichever sweeps trained them."""
    import pandas as pd  # half a second; `just plan` needs it only with results

    lines = [
        {"row": planned.trial.row, "seed": planned.trial.seed, "key": planned.key, **_line(planned.record)}
        for planned in plan.trials
    ]
    return SweepRecord(**vars(make_manifest(plan)), runs=pd.DataFrame(lines).set_index(["row", "seed"]))


def _line(record: TrialRecord | None) -> dict[str, Any]:
    if record is None:
        return trial_line("", "MISSING", {}, {})
    return trial_line(record.run_id, record.status, record.metrics, record.tags)


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
        ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],  # noqa: S607 (the user's own git)
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "unknown"
