"""The only writer of MLflow, beside `TrialRun` for the time that a trial trains.

An experiment is a task. A run is a trial, which is found again by its key; an evaluation outside of training; or a
sweep, which holds the list of its trials. `analysis.records.names` has the names of all tags and metrics.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from filelock import BaseFileLock
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from numpy.typing import NDArray

from analysis.records.address import without_password
from analysis.records.database import SQLITE, database_file, is_missing, refused_schema
from analysis.records.mlflow_client import (
    MLFLOW_RUN_NOTE,
    Metric,
    MlflowClient,
    MlflowException,
    Param,
    Run,
    RunTag,
    run_by_key,
    search_experiments,
    search_runs,
)
from analysis.records.moved_store import follow_move
from analysis.records.names import IS_SWEEP, IS_TRIAL, PROGRESS_STEP, Tag, eval_metric
from analysis.records.schema import MANIFEST_FILE, Manifest
from pipeline.errors import UserError, first_line
from pipeline.files import remove_leftovers, replacing
from pipeline.locks import file_lock
from pipeline.tracking.outage import ask_through_outage

# Enough for a median, and the latest trials are of the present code.
MOST_SAME_COST = 20
# MLflow accepts tags of 5000 characters. A reason is shown in one line.
TAG_LENGTH = 500
NOTE_LENGTH = 5000


@dataclass(frozen=True)
class TrialRecord:
    """What MLflow knows of a trial: its run, MLflow's status of it, the last logged step, last values and tags."""

    run_id: str
    status: str
    step: int
    metrics: Mapping[str, float]
    tags: Mapping[str, str]

    @property
    def error(self) -> str:
        """Why the trial failed; '' if it did not."""
        return self.tags.get(Tag.ERROR, "")


def key_of_run(uri: str, run_id: str) -> str | None:
    """Return the key of a run's trial; None if there is no such run, or it is not a trial's.

    Raises UserError if the store does not answer.
    """
    if is_missing(uri):
        return None
    try:
        return MlflowClient(uri).get_run(run_id).data.tags.get(Tag.TRIAL_KEY)
    except Exception as error:  # of MLflow, the database or the network
        if isinstance(error, MlflowException) and error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise _store_error(uri, error) from None


def store_lock(uri: str, trials: Path) -> BaseFileLock:
    """Return a store's lock among this machine's processes: beside a SQLite file, else in the folder of trials."""
    file = database_file(uri)
    return file_lock(Path(f"{file}.lock") if file else trials / "store.lock", reentrant=True)


class _Client:
    """MLflow's client. Faults of MLflow, of the database and of the network are raised as UserError.

    outage: for how many seconds to ask again while the store does not answer, and whom to tell.
    """

    def __init__(self, uri: str) -> None:
        self.outage: tuple[float, Callable[[float], None]] = (0.0, lambda seconds: None)
        self._uri = uri
        self._client = self._call(_open_store, uri)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(self._call, getattr(self._client, name))

    def _call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return ask_through_outage(partial(function, *arguments, **options), *self.outage)
        except UserError:
            raise
        except Exception as error:
            raise _store_error(self._uri, error) from None


def _open_store(uri: str) -> MlflowClient:
    """Return a client. A SQLite database that does not exist yet is created. The caller holds the store's lock."""
    file = database_file(uri)
    if file and is_missing(uri):
        # Under another name until it is whole: MLflow cannot use a database whose creation was interrupted.
        remove_leftovers(file)
        with replacing(file) as partial_file:
            # As a URI, because MLflow writes the root into SQL as it is; a folder's name may hold a quote.
            SqlAlchemyStore(f"{SQLITE}{partial_file}", (file.parent / "mlruns").as_uri()).engine.dispose()
    elif fault := refused_schema(uri) or follow_move(uri):
        raise UserError(fault)
    return MlflowClient(uri)


class Tracker:
    """One experiment of one store. Reading creates nothing. The first write creates the database and the experiment.

    A process holds `lock` while it creates the database, the experiment or a run.
    """

    def __init__(self, uri: str, experiment: str, artifact_root: str, lock: BaseFileLock) -> None:
        self.uri, self.experiment, self.artifact_root, self.lock = uri, experiment, artifact_root, lock

    @cached_property
    def client(self) -> MlflowClient:
        with self.lock:  # a client creates a SQLite database that does not exist yet
            return cast(MlflowClient, _Client(self.uri))

    @cached_property
    def experiment_id(self) -> str:
        """The experiment, which is created if it does not exist yet."""
        with self.lock:
            # A server has its own path for artefacts. A database needs one.
            location = f"{self.artifact_root}/{self.experiment}" if self.uri.startswith("sqlite:") else None
            if found := self._existing_experiment():
                return found
            try:
                return self.client.create_experiment(self.experiment, location)
            except UserError:
                # On another machine, a sweep may have created it meanwhile.
                if found := self._existing_experiment():
                    return found
                raise

    def _existing_experiment(self) -> str | None:
        found = self.client.get_experiment_by_name(self.experiment)
        if found and found.lifecycle_stage != "active":
            raise UserError(
                f"tracking.uri={without_password(self.uri)}: experiment {self.experiment!r} is deleted. Restore it in "
                "MLflow, or set another data.name."
            )
        return found.experiment_id if found else None

    def ask_through_outages(self, most_seconds: float, silent: Callable[[float], None]) -> None:
        """From now on, ask again for so long while the store does not answer. silent: see `ask_through_outage`."""
        cast(_Client, self.client).outage = (most_seconds, silent)

    def find_trials(self) -> dict[str, TrialRecord]:
        """Return every trial of the experiment by its key; none if there is no store yet."""
        if is_missing(self.uri) or self._existing_experiment() is None:
            return {}
        found = self._search(IS_TRIAL)
        return {key: _record(run) for key, run in run_by_key(found).items()}

    def find_trials_of_same_cost(self, work: str) -> list[TrialRecord]:
        """Return the latest trials, of all tasks, with steps of the same cost (`StepCost.work`)."""
        if is_missing(self.uri):
            return []
        experiments = [experiment.experiment_id for experiment in search_experiments(self.client)]
        condition = f"{IS_TRIAL} and tags.{Tag.WORK} = '{work}'"
        return [_record(run) for run in self.client.search_runs(experiments, condition, max_results=MOST_SAME_COST)]

    def score_history(self, run_id: str, score: str) -> list[tuple[int, float]]:
        """Return (step, value) of every evaluation of a trial."""
        return [(found.step, found.value) for found in self.client.get_metric_history(run_id, eval_metric(score))]

    def create_trial(self, key: str, name: str) -> str:
        """Create a scheduled run for a trial. Return its id.

        If another run of the trial exists by then, created on a machine without a common disk, return that run's id.
        """
        run = self.client.create_run(self.experiment_id, run_name=name, tags={Tag.KIND: "trial", Tag.TRIAL_KEY: key})
        self.client.update_run(run.info.run_id, status="SCHEDULED")
        chosen = run_by_key(self._search(f"{IS_TRIAL} and tags.{Tag.TRIAL_KEY} = '{key}'"))[key].info.run_id
        if chosen != run.info.run_id:
            self.client.delete_run(run.info.run_id)
        return chosen

    def log_settings(self, run_id: str, settings: Mapping[str, object], tags: Mapping[str, str]) -> None:
        """Log a trial's settings as parameters, and tags. A second call with the same values changes nothing."""
        # MLflow's limits are 6000 characters a parameter and 100 parameters a batch. Settings stay far below.
        parameters = [Param(field, str(value)) for field, value in settings.items()]
        self.client.log_batch(run_id, params=parameters, tags=run_tags(tags))

    def tag_trial(self, run_id: str, tags: Mapping[str, object]) -> None:
        """Set tags of a trial's run."""
        self.client.log_batch(run_id, tags=cut_tags(tags))

    def end_trial(self, run_id: str, status: Literal["FAILED", "KILLED"], tags: Mapping[str, str]) -> None:
        """End the run of a trial that died or was stopped by a search. A run that has ended is not changed."""
        if self.client.get_run(run_id).info.status not in ("RUNNING", "SCHEDULED"):
            return
        self.client.log_batch(run_id, tags=cut_tags(tags))
        self.client.set_terminated(run_id, status)

    def delete_trial(self, run_id: str) -> None:
        """Delete a trial's run. MLflow can restore it until its garbage collection."""
        self.client.delete_run(run_id)

    def record_evaluation(
        self, name: str, scores: Mapping[str, float], made_with: Mapping[str, object], grid: NDArray[np.uint8]
    ) -> str:
        """Record an evaluation outside of training as a run. Return its id."""
        run = self.client.create_run(self.experiment_id, run_name=name, tags={Tag.KIND: "evaluation"})
        now = int(time.time() * 1000)
        metrics = [Metric(eval_metric(score), value, now, 0) for score, value in scores.items()]
        self.client.log_batch(run.info.run_id, metrics=metrics, tags=cut_tags(made_with))
        log_evaluation(self.client, run.info.run_id, 0, scores, made_with, grid)
        self.client.set_terminated(run.info.run_id, "FINISHED")
        return run.info.run_id

    def record_sweep(self, manifest: Manifest) -> None:
        """Record what a sweep consists of, unless the newest record has the same trials."""
        newest, digest = self._newest_sweep(manifest.sweep), manifest.digest()
        if newest is not None and newest.data.tags.get(Tag.MANIFEST) == digest:
            return
        tags = {Tag.KIND: "recording", Tag.SWEEP: manifest.sweep, Tag.RESULT_VERSION: manifest.result_version}
        # The newest record has the latest start, also after the clock was set back.
        start = max(int(time.time() * 1000), newest.info.start_time + 1 if newest else 0)
        run = self.client.create_run(self.experiment_id, start, tags, run_name=f"sweep {manifest.sweep}")
        self.client.log_dict(run.info.run_id, manifest.to_dict(), MANIFEST_FILE)
        # Last, so that every run of this kind has its manifest.
        self.client.log_batch(run.info.run_id, tags=run_tags({Tag.MANIFEST: digest, Tag.KIND: "sweep"}))
        self.client.set_terminated(run.info.run_id, "FINISHED")

    def attach_results(self, name: str, folder: Path, description: str, views: Mapping[str, str]) -> None:
        """Store a sweep's tables, figures and report with its manifest. The UI shows the description above them.

        views: saved views of the UI, by their tags.
        """
        newest = self._newest_sweep(name)
        assert newest is not None, "results are attached to a recorded sweep"
        self.client.log_artifacts(newest.info.run_id, str(folder), "results")
        self.client.set_tag(newest.info.run_id, MLFLOW_RUN_NOTE, description[:NOTE_LENGTH])
        for tag, view in views.items():
            self.client.set_experiment_tag(self.experiment_id, tag, view)

    def _newest_sweep(self, name: str) -> Run | None:
        known = self._search(f"{IS_SWEEP} and tags.{Tag.SWEEP} = '{name}'")
        return max(known, key=lambda run: run.info.start_time, default=None)

    def _search(self, condition: str) -> list[Run]:
        return search_runs(self.client, [self.experiment_id], condition)


def run_tags(tags: Mapping[str, object]) -> list[RunTag]:
    """Return tags as MLflow takes them."""
    return [RunTag(name, str(value)) for name, value in tags.items()]


def cut_tags(tags: Mapping[str, object]) -> list[RunTag]:
    """Return tags whose values are cut to `TAG_LENGTH`."""
    return run_tags({name: str(value)[:TAG_LENGTH] for name, value in tags.items()})


def log_evaluation(
    client: MlflowClient,
    run_id: str,
    step: int,
    scores: Mapping[str, float],
    made_with: Mapping[str, object],
    grid: NDArray[np.uint8],
) -> None:
    """Log an evaluation's image grid, and a file of its scores with what they were made with."""
    client.log_dict(run_id, {"scores": dict(scores), **made_with}, f"evaluations/step_{step:08d}.json")
    # Last, because an image that is logged again after an error would be a second one.
    client.log_image(run_id, np.ascontiguousarray(grid), key="grid", step=step)


def _record(run: Run) -> TrialRecord:
    step = int(run.data.metrics.get(PROGRESS_STEP, 0))
    return TrialRecord(run.info.run_id, run.info.status, step, run.data.metrics, run.data.tags)


def _store_error(uri: str, error: Exception) -> UserError:
    # What the database says stands in the middle of SQLAlchemy's text: '(sqlite3.OperationalError) database is locked'.
    of_database = re.search(r"\(\w+\.\w*Error\) ([^\n]+)", str(error))
    why = of_database[1] if of_database else first_line(error)
    return UserError(f"tracking.uri={uri}: the MLflow store does not answer ({why})")
