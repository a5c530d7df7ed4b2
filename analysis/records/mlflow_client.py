"""What the writer and the reader of records use of MLflow. Import it from here, so that its variables are set first."""

import os
from collections.abc import Sequence
from functools import partial

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# MLflow's own retries last minutes without a word. Who writes records asks again itself: `pipeline.tracking.outage`.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

import mlflow
from mlflow.entities import Experiment, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils import get_results_from_paginated_fn
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from analysis.records.address import with_password
from analysis.records.names import Tag

__all__ = [
    "MLFLOW_RUN_NOTE",
    "Metric",
    "MlflowClient",
    "MlflowException",
    "Param",
    "Run",
    "RunTag",
    "run_by_key",
    "search_experiments",
    "search_runs",
]

PAGE = 1000


def run_by_key(trials: Sequence[Run]) -> dict[str, Run]:
    """Return one run of each trial by the trial's key: a finished one, else the first.

    Machines that share a store but no disk can create two runs of one trial at the same moment.
    """
    first = sorted(trials, key=lambda run: (run.info.status != "FINISHED", run.info.start_time, run.info.run_id))
    return {run.data.tags[Tag.TRIAL_KEY]: run for run in reversed(first)}


class MlflowClient(mlflow.MlflowClient):
    """MLflow's client. It takes an address whose password is in the environment: see `records.address`."""

    def __init__(self, uri: str) -> None:
        super().__init__(with_password(uri))


def search_experiments(client: MlflowClient) -> list[Experiment]:
    """Return all active experiments."""
    return get_results_from_paginated_fn(
        lambda most, token: client.search_experiments(max_results=most, page_token=token), PAGE
    )


def search_runs(client: MlflowClient, experiment_ids: Sequence[str], condition: str) -> list[Run]:
    """Return all active runs of the experiments that meet a condition, such as `names.IS_TRIAL`."""
    search = partial(client.search_runs, list(experiment_ids), condition, ViewType.ACTIVE_ONLY)
    return get_results_from_paginated_fn(lambda most, token: search(most, page_token=token), PAGE)
