"""What a sweep would do: each trial with its identity and with what is recorded of it already."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.config import tracking_uri
from pipeline.data import Dataset, PreparedData, open_dataset, prepare
from pipeline.errors import UserError
from pipeline.fid import weights_fingerprint
from pipeline.identity import RESULT_VERSION, keyed_fields, trial_key
from pipeline.settings import Config
from pipeline.sweep import Sweep, Trial, expand, with_seeds
from pipeline.tracking import Tracker, TrialRecord
from pipeline.trial import TrialJob

State = Literal["done", "interrupted", "failed", "new"]
_STATES: dict[str, State] = {"FINISHED": "done", "FAILED": "failed", "SCHEDULED": "new"}


@dataclass(frozen=True)
class PlannedTrial:
    """A trial of a sweep, its key, and its state in the records."""

    trial: Trial
    key: str
    state: State
    record: TrialRecord | None


@dataclass(frozen=True)
class Plan:
    """A sweep laid out: every trial in the order in which they run, and where data and records lie.

    `config` is the first trial's; all share its data, metric, compute, tracking and paths.
    """

    sweep: Sweep
    overrides: tuple[str, ...]
    config: Config
    trials: tuple[PlannedTrial, ...]
    data: PreparedData
    tracker: Tracker
    uri: str

    @property
    def task(self) -> str:
        """What tables and records call the data."""
        return self.config.data.name

    def to_train(self) -> list[PlannedTrial]:
        return [planned for planned in self.trials if planned.state != "done"]


def plan_sweep(sweep: Sweep, overrides: Sequence[str]) -> Plan:
    """Compose every row, prepare the data, take the keys, look up the records. Trains nothing."""
    sweep, overrides = with_seeds(sweep, overrides)
    trials = expand(sweep, overrides)
    first = trials[0].config
    for trial in trials:
        for part in ("data", "metric", "compute", "tracking", "paths"):
            if getattr(trial.config, part) != getattr(first, part):
                raise UserError(
                    f"{sweep.place}: rows {trials[0].row!r} and {trial.row!r} differ in {part}; a table compares rows "
                    f"on one task by one metric, so set {part} for the whole sweep"
                )
    data = prepare(first.data, Path(first.paths.cache))
    _require_whole_batches(sweep, trials, open_dataset(data.folder))
    weights = weights_fingerprint(first.metric.extractor, first.metric.weights)
    uri = tracking_uri(first)
    tracker = Tracker(uri, first.data.name, Path("mlartifacts").absolute().as_uri())
    records = tracker.find_trials()
    keys = [trial_key(trial.config, data.fingerprint, weights) for trial in trials]
    planned = tuple(
        PlannedTrial(trial, key, _state(records.get(key)), records.get(key))
        for trial, key in zip(trials, keys, strict=True)
    )
    return Plan(sweep, tuple(overrides), first, planned, data, tracker, uri)


def register(plan: Plan) -> list[TrialJob]:
    """Write the sweep into the records, with a run for every trial, and give the jobs that are left to do.

    Only this process creates runs, so no trial can get two.
    """
    plan.tracker.record_sweep(plan.sweep.name, manifest(plan))
    provenance = {
        "data_fingerprint": plan.data.fingerprint,
        "commit": _commit(),
        "result_version": str(RESULT_VERSION),
    }
    jobs: list[TrialJob] = []
    for planned in plan.trials:
        trial = planned.trial
        membership = {f"row.{plan.sweep.name}": trial.row}
        name = f"{trial.row}, seed {trial.seed}"
        run_id = planned.record.run_id if planned.record else plan.tracker.create_trial(planned.key, name)
        if planned.state == "done":
            plan.tracker.describe_trial(run_id, {}, membership)
            continue
        # MLflow keeps a parameter's first value for good; those of the key cannot differ in a run of that key.
        plan.tracker.describe_trial(run_id, keyed_fields(trial.config), {**membership, **provenance})
        folder, checkpoint = plan.data.folder.absolute(), checkpoint_path(trial.config, planned.key)
        jobs.append(TrialJob(trial.config, planned.key, run_id, str(folder), str(checkpoint), plan.uri))
    return jobs


def checkpoint_path(config: Config, key: str) -> Path:
    """Where the trial of that key keeps its last checkpoint."""
    return Path(config.paths.trials).absolute() / key / "last.pt"


def manifest(plan: Plan) -> dict[str, Any]:
    """What the tables need to know of a sweep, written beside its trials."""
    keys: dict[str, dict[str, str]] = {row.row: {} for row in plan.sweep.rows}
    for planned in plan.trials:
        keys[planned.trial.row][str(planned.trial.seed)] = planned.key
    return {
        "sweep": plan.sweep.name,
        "question": plan.sweep.question,
        "task": plan.task,
        "overrides": [text for text in plan.overrides if not text.startswith("task=")],
        "rows": [{"row": row.row, "paper": row.paper, "keys": keys[row.row]} for row in plan.sweep.rows],
    }


def _require_whole_batches(sweep: Sweep, trials: Sequence[Trial], dataset: Dataset) -> None:
    images = max(len(dataset.train_a), len(dataset.train_b))
    for trial in trials:
        wanted = trial.config.train.batch_size
        if wanted > images:
            place = f"{sweep.place}, row {trial.row!r}"
            raise UserError(f"{place}: train.batch_size is {wanted}, but there are only {images} images; lower it")


def _state(record: TrialRecord | None) -> State:
    return "new" if record is None else _STATES.get(record.status, "interrupted")


def _commit() -> str:
    """The commit of the code, '+' behind it where files differ from it; 'unknown' outside a repository."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "unknown"
