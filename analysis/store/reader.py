"""What is recorded of a sweep: its manifest and the records of its trials."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from analysis.records.address import without_password
from analysis.records.names import (
    FINAL_GROUPS,
    IS_SWEEP,
    IS_TRIAL,
    OLDER_VALUES,
    PLAIN_NAME,
    PROGRESS_STEP,
    RESULT_TAGS,
    Tag,
    cost_metric,
    row_tag,
)
from analysis.records.printable import printable
from analysis.records.schema import MANIFEST_FILE, Manifest, RecordsError, SweepRecord, TrialRun, read_manifest
from analysis.store.open_store import open_store, readable
from analysis.store.overview import recorded_tasks
from analysis.store.stored_runs import StoredRun, StoreReader, run_by_key

# Values are smaller, unless the training diverged. MLflow stores infinity as the largest number of its database.
LARGEST = 1e100
# So many of the latest logged steps show how fast a trial is.
LATEST = 20


def read_sweep(uri: str, sweep: str, task: str, result_version: str = "") -> SweepRecord:
    """Return the newest record of a sweep on a task, or the newest of one result version of the code.

    Raises RecordsError if there is none.
    """
    import pandas as pd  # half a second, which `just status` does not need

    found = read_trials(uri, sweep, task, result_version)
    runs = pd.DataFrame(found.lines).set_index(["row", "seed"])
    if (repeated := cost_metric("steps_repeated")) in runs:
        # Recorded only where there were some.
        runs[repeated] = runs[repeated].where(runs["status"] != "FINISHED", runs[repeated].fillna(0))
    return SweepRecord(
        **vars(replace(found.manifest, sweep=sweep, task=task)),
        runs=runs,
        store=without_password(uri),
        experiment_id=found.experiment_id,
        other_seeds=found.other_seeds,
        details={key: _details(found.runs[key]) for line in found.lines if (key := line["key"]) in found.runs},
    )


@dataclass(frozen=True)
class RecordedTrials:
    """What is read of a sweep on a task: see `SweepRecord`. lines: one for each trial (`trial_line`). runs: by key."""

    manifest: Manifest
    lines: Sequence[dict[str, Any]]
    experiment_id: str
    other_seeds: Mapping[int, int]
    runs: Mapping[str, StoredRun]


def read_trials(uri: str, sweep: str, task: str, result_version: str = "") -> RecordedTrials:
    """Return what `read_sweep` returns, before it is a data frame."""
    for name in (sweep, task):
        if not re.fullmatch(PLAIN_NAME, name):
            raise RecordsError(
                f"{name!r} names no sweep and no task: use letters, digits, '_', '-', '.', '+' and spaces."
            )
    with readable(uri):
        store = open_store(uri)
        experiment, _ = store.experiment(task) or ("", False)
        started = store.runs([experiment], {**IS_SWEEP, Tag.SWEEP: sweep}) if experiment else []
        if not started:
            known = ", ".join(recorded_tasks(uri, sweep))
            raise RecordsError(
                f"{without_password(uri)} has no records of sweep {sweep!r} on task {task!r}. It has: {known}."
            )
        manifest = _manifest(uri, store, started, sweep, result_version)
        # A trial has a tag of each sweep that it belongs to, whichever of them trained it.
        by_key = run_by_key(store.runs([experiment], {**IS_TRIAL, row_tag(sweep): None}))
        lines = [_line(row.row, seed, key, by_key.get(key)) for row in manifest.rows for seed, key in row.keys.items()]
        return RecordedTrials(manifest, lines, experiment, _other_seeds(manifest, by_key, row_tag(sweep)), by_key)


def read_paces(uri: str, run_ids: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return trials' seconds a step of late, and when each last logged one (seconds since 1970), where it is known."""
    if not run_ids:
        return {}
    with readable(uri):
        histories = open_store(uri).histories(run_ids, PROGRESS_STEP)
    paces: dict[str, tuple[float, float]] = {}
    for run_id, history in histories.items():
        steps = history[-LATEST:]
        if len(steps) >= 2 and steps[-1].step != steps[0].step:
            pace = (steps[-1].time - steps[0].time) / 1000 / (steps[-1].step - steps[0].step)
            paces[run_id] = pace, steps[-1].time / 1000
    return paces


def _manifest(uri: str, store: StoreReader, started: Sequence[StoredRun], sweep: str, result_version: str) -> Manifest:
    """Return the manifest of the newest run of a sweep, or of the newest of a result version."""
    # Older sweeps did not record it. They are of version 1.
    versions = {run.run_id: run.tags.get(Tag.RESULT_VERSION, "1") for run in started}
    matching = [run for run in started if result_version in ("", versions[run.run_id])]
    if not matching:
        known = ", ".join(sorted(set(versions.values())))
        raise RecordsError(
            f"{without_password(uri)}: sweep {sweep!r} has no result version {result_version!r}. It has {known}."
        )
    newest = max(matching, key=lambda run: run.start_time)
    return read_manifest(json.loads(store.artifact(newest.run_id, MANIFEST_FILE)))


def _other_seeds(manifest: Manifest, trials: Mapping[str, StoredRun], row_of: str) -> Mapping[int, int]:
    """Return the seeds of finished trials that equal a row's trial in all but the seed, and of how many rows they are.

    trials: by key, those of the sweep as it is and as it was. row_of: the tag with the name of a trial's row.
    """
    asked = {key for row in manifest.rows for key in row.keys.values()}
    wanted = {(run.tags.get(row_of), _all_but_seed(run)) for key, run in trials.items() if key in asked}
    finished = [run for key, run in trials.items() if key not in asked and run.status == "FINISHED"]
    found = [run for run in finished if (run.tags.get(row_of), _all_but_seed(run)) in wanted]
    return Counter(sorted(int(run.params["seed"]) for run in found if "seed" in run.params))


def _all_but_seed(run: StoredRun) -> frozenset[tuple[str, str]]:
    made_with = {tag: run.tags.get(tag, "") for tag in (Tag.DATA_FINGERPRINT, Tag.RESULT_VERSION)}
    return frozenset({**run.params, **made_with, "seed": ""}.items())


def _line(row: str, seed: int, key: str, run: StoredRun | None) -> dict[str, Any]:
    which = {"row": row, "seed": seed, "key": key}
    if run is None:
        return {**which, **trial_line("", "MISSING", {}, {})}
    return {**which, **trial_line(run.run_id, run.status, run.metrics, run.tags)}


def _details(run: StoredRun) -> TrialRun:
    parameters = {name: without_password(printable(value)) for name, value in run.params.items()}
    return TrialRun(parameters, run.start_time, run.end_time)


def trial_line(run_id: str, status: str, metrics: Mapping[str, float], tags: Mapping[str, str]) -> dict[str, Any]:
    """Return what a record's line holds of a trial's run (`SweepRecord.runs`), less the trial's row, seed and key."""
    ended = {name: value for name, value in metrics.items() if name.startswith(FINAL_GROUPS)}
    older = OLDER_VALUES if status == "FINISHED" else {}
    not_finite = [name for name, value in ended.items() if not abs(value) < LARGEST]
    ended = {name: value for name, value in ended.items() if name not in not_finite}
    return {
        **{"status": status, "run_id": run_id},
        **{name: without_password(printable(tags.get(name, older.get(name, "")))) for name in RESULT_TAGS},
        "not_finite": ", ".join(not_finite) if status == "FINISHED" else "",
        "step": int(metrics.get(PROGRESS_STEP, 0)),
        **(ended if status == "FINISHED" else {}),
    }
