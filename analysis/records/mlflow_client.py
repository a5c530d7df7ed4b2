"""What the writer and the reader of records use of MLflow. Import it from here, so that its variables are set first."""

import logging
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
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
    "SQLITE",
    "Metric",
    "MlflowClient",
    "MlflowException",
    "Param",
    "Run",
    "RunTag",
    "database_fault",
    "database_file",
    "run_by_key",
    "search_experiments",
    "search_runs",
]

PAGE = 1000
SQLITE = "sqlite:///"

# The first use of a database creates its tables, which Alembic would report. Errors of the database are raised as well
# as logged, with a traceback.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
logging.getLogger("alembic").setLevel(logging.WARNING)


def database_file(uri: str) -> Path | None:
    """Return the file of a SQLite store; None for a server or another database."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def database_fault(path: Path) -> str:
    """Return why MLflow cannot use an existing SQLite file as its store, and what to do; '' if it can.

    MLflow would try to change the tables of a database of another version, and fail half-way.
    """
    from mlflow.store.db.utils import _get_latest_schema_revision

    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            query = "SELECT version_num FROM alembic_version"
            revisions = {found for (found,) in database.execute(query)} if "alembic_version" in tables else set()
    except sqlite3.OperationalError:
        return ""  # locked, or not recovered from a crash yet: MLflow can wait, and recovers it
    except sqlite3.DatabaseError as error:
        return f"it is no SQLite database ({error}). Give another tracking.uri"
    if not tables or revisions == {_get_latest_schema_revision()}:
        return ""
    if "experiments" not in tables:
        return "its tables are not those of MLflow. Give another tracking.uri"
    found = ", ".join(sorted(revisions)) or "none"
    return (
        f"it was written by another version of MLflow (its revision is {found}). If that MLflow was older, copy the "
        f"file, then run: .venv/bin/mlflow db upgrade {SQLITE}{path}"
    )


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
