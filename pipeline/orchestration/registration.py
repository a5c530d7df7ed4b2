"""A planned sweep in the records: a run for every trial, and all that tables need to know of the sweep."""

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
from pipeline.orchestration.planner import Need, Plan, checkpoint_path
from pipeline.trial.job import TrialJob


def register(plan: Plan, needs: Sequence[Need] = (), *, retry_failed: bool = False) -> list[TrialJob]:
    """Write the sweep into the records, with a run for every trial, and give the jobs that are left to do.

    needs: as `find_needs` gave them; not wanted where nothing is left.

    Runs are created under the store's lock and after another look, so that of two sweeps started at once only one
    creates a trial's.
    """
    assert plan.data is not None, "a plan without data is for looking at"
    provenance = {
        Tag.DATA_FINGERPRINT: plan.data.fingerprint,
        Tag.COMMIT: _commit(),
        Tag.RESULT_VERSION: str(RESULT_VERSION),
    }
    left = {planned.key for planned in plan.to_train(retry_failed=retry_failed)}
    sets = {row.row: row.set for row in plan.sweep.rows}
    need_of = dict(zip((planned.key for planned in plan.trials), needs, strict=False))
    jobs: list[TrialJob] = []
    with plan.tracker.lock:
        plan.tracker.record_sweep(make_manifest(plan))
        records = plan.tracker.find_trials()
        for planned in plan.trials:
            trial, record = planned.trial, records.get(planned.key)
            settings = json.dumps(sets[trial.row])
            membership = {row_tag(plan.sweep.name): trial.row, settings_tag(plan.sweep.name): settings}
            name = f"{trial.row}, seed {trial.seed}"
            run_id = record.run_id if record else plan.tracker.create_trial(planned.key, name)
            if planned.key not in left:
                plan.tracker.log_settings(run_id, {}, membership)
                continue
            # MLflow keeps a parameter's first value for good; those of the key cannot differ in a run of that key.
            need = need_of[planned.key]
            tags = {**membership, **provenance, Tag.WORK: need.cost.work}
            plan.tracker.log_settings(run_id, keyed_fields(trial.config), tags)
            # The threads that were worked out go along, since an evaluation later on must use as many.
            compute = replace(trial.config.compute, cpus_per_trial=need.share.cpus)
            config = replace(trial.config, compute=compute)
            folder, checkpoint = plan.data.folder.absolute(), checkpoint_path(config, planned.key)
            over = ("FINISHED", *(["KILLED"] if plan.sweep.search else []), *(["FAILED"] if not retry_failed else []))
            places = (str(folder), str(checkpoint), str(Path(config.paths.cache).absolute()), plan.uri)
            jobs.append(TrialJob(config, planned.key, run_id, *places, need.share, over))
    return jobs


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
    """What a row is: the fields that any row sets, and all of the model's; a group by the name of its choice."""
    config = next(planned.trial.config for planned in plan.trials if planned.trial.row == row.row)
    fields = dict(leaves(asdict(config)))
    shared = dict(text.split("=", 1) for text in (*plan.sweep.base, *plan.overrides) if "=" in text)
    # The model that is trained where nothing else is said.
    shared.setdefault("model", "cut")
    chosen = {name: row.set.get(name, shared.get(name)) for name in axes if name not in fields}
    asked = {name: value for name, value in fields.items() if name in axes or name.startswith("model.")}
    return {**chosen, **asked}


def _commit() -> str:
    """The commit of the code, '+' behind it where files differ from it; 'unknown' outside a repository."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "unknown"
