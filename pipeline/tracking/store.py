"""The only writer of MLflow: experiments are tasks, a run is a trial found again by its key, and a sweep is a run
that holds the list of its trials. Every evaluation leaves a picture, and a file of its scores with what they were made
with; one that no training made is a run of its own.

A trial's metrics: losses ('train/...'), scores ('eval/...') by step; and, when it is done, 'last/...', 'best/...',
'cost/...' and 'source/...', one value each, which are what tables are made of.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from pipeline.errors import UserError, first_line

MANIFEST = "sweep.json"
PAGE = 1000
# Enough for a median, and the latest are by the present code.
ALIKE = 20
# How long a trial's values wait to be sent together, and how many a batch may have (MLflow's limit is 1000).
SECONDS_BETWEEN_BATCHES = 2.0
MOST_METRICS = 500
# MLflow takes tags of 5000 characters; a reason is a line.
TAG_LENGTH = 500
NOTE_LENGTH = 5000

P = ParamSpec("P")
R = TypeVar("R")

# A first use lays out the database, and would say so in Alembic's words.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)


@dataclass(frozen=True)
class TrialRecord:
    """What MLflow knows of a trial: its run, MLflow's status of it, the last step logged, the metrics' last values,
    and the tags."""

    run_id: str
    status: str
    step: int
    metrics: Mapping[str, float]
    tags: Mapping[str, str]

    @property
    def error(self) -> str:
        """Why it failed."""
        return self.tags.get("error", "")


def key_of_run(uri: str, run_id: str) -> str | None:
    """The trial that a run records; None where there is no such run, or it is none of a trial.

    Raises UserError where the store cannot be asked.
    """
    if _is_missing(uri):
        return None
    try:
        return MlflowClient(uri).get_run(run_id).data.tags.get("trial_key")
    except Exception as error:  # MLflow's, the database's and the network's own kinds, many of them
        if isinstance(error, MlflowException) and error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise _no_answer(uri, error) from None


def import_store() -> None:
    """Import what MLflow imports when a database is first used, and which takes a second."""
    import mlflow.store.tracking.sqlalchemy_store

    assert mlflow.store.tracking.sqlalchemy_store


def store_lock(uri: str, trials: Path) -> FileLock:
    """The lock of a store among the processes of this machine: beside a SQLite file, else in the folder of trials."""
    place = Path(f"{uri.removeprefix('sqlite:///')}.lock") if uri.startswith("sqlite:///") else trials / "store.lock"
    return FileLock(place, is_singleton=True)


def run_status(uri: str, run_id: str) -> str:
    """MLflow's status of a trial's run: SCHEDULED, RUNNING, FINISHED, FAILED or, where a search stopped it, KILLED."""
    return MlflowClient(uri).get_run(run_id).info.status


def _answered(method: Callable[Concatenate["Tracker", P], R]) -> Callable[Concatenate["Tracker", P], R]:
    """The method, whose faults of the store are told as a user's errors."""

    @wraps(method)
    def asked(self: "Tracker", *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except UserError:
            raise
        except Exception as error:  # MLflow's, the database's and the network's own kinds, many of them
            raise _no_answer(self.uri, error) from None

    return asked


class Tracker:
    """One experiment of one store. Reading creates nothing; the first write creates the database and the experiment.

    `lock` is held by the process that creates the database, the experiment or a run.
    """

    def __init__(self, uri: str, experiment: str, artifact_root: str, lock: FileLock) -> None:
        self.uri, self.experiment, self.artifact_root, self.lock = uri, experiment, artifact_root, lock

    @cached_property
    def client(self) -> MlflowClient:
        with self.lock:  # a client creates a SQLite database that does not exist yet
            return MlflowClient(self.uri)

    @cached_property
    @_answered
    def experiment_id(self) -> str:
        """The experiment, which is created if it does not exist yet."""
        with self.lock:
            # A server decides where artifacts are stored; only a database of our own needs a path.
            location = f"{self.artifact_root}/{self.experiment}" if self.uri.startswith("sqlite:") else None
            return self._existing_experiment() or self.client.create_experiment(self.experiment, location)

    def _existing_experiment(self) -> str | None:
        found = self.client.get_experiment_by_name(self.experiment)
        if found and found.lifecycle_stage != "active":
            raise UserError(
                f"tracking.uri={self.uri}: experiment {self.experiment!r} is deleted. Restore it in MLflow, or set "
                "another data.name."
            )
        return found.experiment_id if found else None

    @_answered
    def find_trials(self) -> dict[str, TrialRecord]:
        """Every trial of the experiment by its key; none if there is no store yet."""
        if _is_missing(self.uri) or self._existing_experiment() is None:
            return {}
        return {run.data.tags["trial_key"]: _record(run) for run in self._search("tags.kind = 'trial'")}

    @_answered
    def find_alike(self, work: str) -> list[TrialRecord]:
        """The latest trials, of whichever task, whose steps cost the same (`StepCost.work`)."""
        if _is_missing(self.uri):
            return []
        experiments = [experiment.experiment_id for experiment in self.client.search_experiments()]
        condition = f"tags.kind = 'trial' and tags.work = '{work}'"
        return [_record(run) for run in self.client.search_runs(experiments, condition, max_results=ALIKE)]

    @_answered
    def score_history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """(step, score) of every evaluation of a trial."""
        return [(found.step, found.value) for found in self.client.get_metric_history(run_id, f"eval/{metric}")]

    @_answered
    def create_trial(self, key: str, name: str) -> str:
        """A new run for a trial, scheduled; gives its id."""
        run = self.client.create_run(self.experiment_id, run_name=name, tags={"kind": "trial", "trial_key": key})
        self.client.update_run(run.info.run_id, status="SCHEDULED")
        return run.info.run_id

    @_answered
    def describe_trial(self, run_id: str, fields: Mapping[str, object], tags: Mapping[str, str]) -> None:
        """A trial's settings as parameters, and tags; saying the same again changes nothing."""
        # MLflow limits a parameter to 6000 characters and a batch to 100 parameters; settings stay far below.
        parameters = [Param(field, str(value)) for field, value in fields.items()]
        self.client.log_batch(run_id, params=parameters, tags=[RunTag(key, value) for key, value in tags.items()])

    @_answered
    def close_trial(self, run_id: str, status: Literal["FAILED", "KILLED"], tags: Mapping[str, str]) -> None:
        """End the run of a trial that could not do so itself: it died, or a search stopped it. One that has ended is
        left as it is."""
        if self.client.get_run(run_id).info.status not in ("RUNNING", "SCHEDULED"):
            return
        self.client.log_batch(run_id, tags=[RunTag(key, value[:TAG_LENGTH]) for key, value in tags.items()])
        self.client.set_terminated(run_id, status)

    @_answered
    def forget_trial(self, run_id: str) -> None:
        """Delete a trial's run; MLflow keeps deleted runs until its garbage collection, and can restore them."""
        self.client.delete_run(run_id)

    @_answered
    def record_evaluation(
        self,
        name: str,
        scores: Mapping[str, float],
        made_with: Mapping[str, object],
        grid: NDArray[np.uint8],
    ) -> str:
        """A run of its own for an evaluation that no training made; gives its id."""
        run = self.client.create_run(self.experiment_id, run_name=name, tags={"kind": "evaluation"})
        tags = {key: str(value)[:TAG_LENGTH] for key, value in made_with.items()}
        now = int(time.time() * 1000)
        metrics = [Metric(f"eval/{score}", value, now, 0) for score, value in scores.items()]
        self.client.log_batch(run.info.run_id, metrics=metrics, tags=[RunTag(key, tags[key]) for key in tags])
        _log_evaluation(self.client, run.info.run_id, 0, scores, made_with, grid)
        self.client.set_terminated(run.info.run_id, "FINISHED")
        return run.info.run_id

    @_answered
    def record_sweep(self, name: str, manifest: Mapping[str, Any]) -> None:
        """Write what the sweep consists of; a sweep of the same trials is written once."""
        # How the command was written changes nothing of the sweep.
        told = {name: value for name, value in manifest.items() if name not in ("command", "file")}
        content = json.dumps(told, sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()[:16]
        known = self._search(f"tags.kind = 'sweep' and tags.sweep = '{name}'")
        newest = max(known, key=lambda run: run.info.start_time, default=None)
        if newest is not None and newest.data.tags.get("manifest") == digest:
            return
        tags = {"kind": "recording", "sweep": name, "result_version": str(manifest["result_version"])}
        run = self.client.create_run(self.experiment_id, run_name=f"sweep {name}", tags=tags)
        self.client.log_dict(run.info.run_id, dict(manifest), MANIFEST)
        # Last, so that a sweep that is known has its list.
        self.client.log_batch(run.info.run_id, tags=[RunTag("manifest", digest), RunTag("kind", "sweep")])
        self.client.set_terminated(run.info.run_id, "FINISHED")

    @_answered
    def attach_results(self, name: str, folder: Path, description: str, views: Mapping[str, str]) -> None:
        """Put a sweep's tables, figures and report beside its list of trials; the UI shows the description above
        them. views: saved views of the UI, by their tags."""
        known = self._search(f"tags.kind = 'sweep' and tags.sweep = '{name}'")
        newest = max(known, key=lambda run: run.info.start_time)
        self.client.log_artifacts(newest.info.run_id, str(folder), "results")
        self.client.set_tag(newest.info.run_id, MLFLOW_RUN_NOTE, description[:NOTE_LENGTH])
        for tag, view in views.items():
            self.client.set_experiment_tag(self.experiment_id, tag, view)

    def _search(self, condition: str) -> list[Run]:
        runs: list[Run] = []
        token: str | None = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id], condition, ViewType.ACTIVE_ONLY, max_results=PAGE, page_token=token
            )
            runs += page
            token = page.token
            if not token:
                return runs


def _record(run: Run) -> TrialRecord:
    step = int(run.data.metrics.get("progress/step", 0))
    return TrialRecord(run.info.run_id, run.info.status, step, run.data.metrics, run.data.tags)


def _log_evaluation(
    client: MlflowClient,
    run_id: str,
    step: int,
    scores: Mapping[str, float],
    made_with: Mapping[str, object],
    grid: NDArray[np.uint8],
) -> None:
    client.log_image(run_id, np.ascontiguousarray(grid), key="grid", step=step)
    client.log_dict(run_id, {"scores": dict(scores), **made_with}, f"evaluations/step_{step:08d}.json")


def _is_missing(uri: str) -> bool:
    """Whether the store is a SQLite database that does not exist. A client would create it."""
    return uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists()


def _no_answer(uri: str, error: Exception) -> UserError:
    return UserError(f"tracking.uri={uri}: the MLflow store does not answer ({first_line(error)})")
