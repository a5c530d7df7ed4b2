"""What the writer and the reader of records use of MLflow. Import it from here, so that its variables are set first."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# MLflow's own retries last minutes without a word. Who writes records asks again itself: `pipeline.tracking.outage`.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

import mlflow
from mlflow.entities import Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils import get_results_from_paginated_fn

from analysis.records.address import with_password
from analysis.store.stored_runs import LoggedValue, StoredRun, Tags

__all__ = ["ClientReader", "Metric", "MlflowClient", "Param", "Run", "RunTag"]

PAGE = 1000


class MlflowClient(mlflow.MlflowClient):
    """MLflow's client. It takes an address whose password is in the environment: see `records.address`."""

    def __init__(self, uri: str) -> None:
        super().__init__(with_password(uri))


class ClientReader:
    """A store that MLflow reads (`StoreReader`): a server, or a database."""

    def __init__(self, uri: str) -> None:
        self._client = MlflowClient(uri)

    def experiments(self) -> dict[str, str]:
        """Return the names of all active experiments by their ids."""
        search = self._client.search_experiments
        found = get_results_from_paginated_fn(
            lambda at_once, token: search(max_results=at_once, page_token=token), PAGE
        )
        return {experiment.experiment_id: experiment.name for experiment in found}

    def experiment_tags(self, experiment_id: str) -> dict[str, str]:
        """Return the tags of an experiment."""
        return dict(self._client.get_experiment(experiment_id).tags)

    def experiment(self, name: str) -> tuple[str, bool] | None:
        """Return the id of the experiment of this name, and whether it is deleted; None if there is none."""
        found = self._client.get_experiment_by_name(name)
        return (found.experiment_id, found.lifecycle_stage == "deleted") if found else None

    def runs(self, experiment_ids: Sequence[str], tags: Tags, most: int | None = None) -> list[StoredRun]:
        """Return the active runs of these experiments that have these tags; the newest first, at most so many."""
        condition = " and ".join(_condition(name, value) for name, value in tags.items())
        search = partial(self._client.search_runs, list(experiment_ids), condition, ViewType.ACTIVE_ONLY)
        if most is not None:
            return [_stored(run) for run in search(most)]
        found = get_results_from_paginated_fn(lambda at_once, token: search(at_once, page_token=token), PAGE)
        return [_stored(run) for run in found]

    def tags(self, run_id: str) -> dict[str, str] | None:
        """Return a run's tags; None if there is no such run."""
        try:
            return self._client.get_run(run_id).data.tags
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def histories(self, run_ids: Sequence[str], metric: str) -> dict[str, list[LoggedValue]]:
        """Return everything that was logged of a metric in each of these runs, by steps; empty where it was not.

        MLflow's client has one call for each run.
        """
        histories: dict[str, list[LoggedValue]] = {}
        for run_id in run_ids:
            found = self._client.get_metric_history(run_id, metric)
            values = [LoggedValue(logged.step, logged.value, logged.timestamp) for logged in found]
            histories[run_id] = sorted(values, key=lambda logged: (logged.step, logged.time))
        return histories

    def artifacts(self, run_id: str, folder: str) -> list[str]:
        """Return the paths of a run's artifacts in a folder."""
        return [file.path for file in self._client.list_artifacts(run_id, folder)]

    def artifact(self, run_id: str, path: str) -> bytes:
        """Return the content of a run's artifact."""
        with TemporaryDirectory() as folder:
            return Path(self._client.download_artifacts(run_id, path, folder)).read_bytes()


def _condition(tag: str, value: str | None) -> str:
    return f"tags.`{tag}` LIKE '%'" if value is None else f"tags.`{tag}` = '{value}'"


def _stored(run: Run) -> StoredRun:
    info, data = run.info, run.data
    times = info.start_time or 0, info.end_time or 0
    return StoredRun(info.run_id, info.status, *times, data.metrics, data.params, data.tags)
