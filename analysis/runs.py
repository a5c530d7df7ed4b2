"""The only reader of MLflow: a sweep's list of trials, and what each of them recorded."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run, ViewType

MANIFEST = "sweep.json"
PAGE = 1000
# Of a trial's tags those that tables need; older trials lack some of them, which are then ''.
TAGS = (
    *("error", "stopped", "timed"),
    *("extractor", "weights", "layer", "dimensions", "resize", "image_size", "images_a", "images_b", "kid_subset_size"),
    *("arithmetic", "vgg16", "lpips-vgg16", "dinov2-vit-l-14", "segmenter"),
)


class RecordsError(Exception):
    """The records do not hold what was asked for; the text is one line for the user."""


@dataclass(frozen=True)
class SweepRow:
    """A row of the sweep: its name, its like in the paper ('' if none), its trials' keys by seed."""

    row: str
    paper: str
    keys: dict[int, str]


@dataclass(frozen=True)
class SweepRecord:
    """A sweep as recorded.

    overrides: what its command line changed for all rows. runs: one line a trial, indexed by (row, seed), with
    status, error, why a search stopped it, how its times were taken and its scores made, steps so far, and, where it
    is finished, every metric. price_per_hour: of a GPU, or of the machine where there is none; None: nobody said.
    """

    sweep: str
    question: str
    task: str
    overrides: tuple[str, ...]
    rows: tuple[SweepRow, ...]
    runs: pd.DataFrame
    price_per_hour: float | None


def read_sweep(uri: str, sweep: str, task: str) -> SweepRecord:
    """The newest record of a sweep on a task. Raises RecordsError where there is none."""
    with _readable(uri):
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name(task)
        if experiment is None:
            known = sorted(found.name for found in client.search_experiments() if found.name != "Default")
            raise RecordsError(
                f"{uri}: nothing is recorded for task {task!r}; recorded: {', '.join(known) or 'nothing'}"
            )
        manifest = _newest_manifest(client, experiment.experiment_id, sweep, uri)
        trials = _search(client, experiment.experiment_id, "tags.kind = 'trial'")
        by_key = {run.data.tags["trial_key"]: run for run in trials}
    rows = tuple(
        SweepRow(row["row"], row["paper"], {int(seed): key for seed, key in row["keys"].items()})
        for row in manifest["rows"]
    )
    lines = [_line(row.row, seed, by_key.get(key)) for row in rows for seed, key in row.keys.items()]
    runs = pd.DataFrame(lines).set_index(["row", "seed"])
    price = manifest.get("price_per_hour")
    return SweepRecord(sweep, manifest["question"], task, tuple(manifest["overrides"]), rows, runs, price)


def recorded_tasks(uri: str, sweep: str) -> list[str]:
    """The tasks that a sweep was run on. Raises RecordsError where the store cannot be read."""
    with _readable(uri):
        client = MlflowClient(uri)
        condition = f"tags.kind = 'sweep' and tags.sweep = '{sweep}'"
        return sorted(
            experiment.name
            for experiment in client.search_experiments()
            if client.search_runs([experiment.experiment_id], condition, max_results=1)
        )


@contextmanager
def _readable(uri: str) -> Iterator[None]:
    try:
        yield
    except RecordsError:
        raise
    except Exception as error:  # MLflow's, the database's and the network's own kinds, many of them
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RecordsError(f"{uri}: the MLflow store cannot be read ({reason})") from None


def _newest_manifest(client: MlflowClient, experiment_id: str, sweep: str, uri: str) -> dict[str, Any]:
    found = _search(client, experiment_id, f"tags.kind = 'sweep' and tags.sweep = '{sweep}'")
    if not found:
        known = sorted({run.data.tags["sweep"] for run in _search(client, experiment_id, "tags.kind = 'sweep'")})
        raise RecordsError(f"{uri}: no sweep {sweep!r} is recorded; recorded: {', '.join(known) or 'none'}")
    newest = max(found, key=lambda run: run.info.start_time)
    path = download_artifacts(run_id=newest.info.run_id, artifact_path=MANIFEST, tracking_uri=uri)
    return json.loads(Path(path).read_text(encoding="utf-8"))


def _line(row: str, seed: int, run: Run | None) -> dict[str, Any]:
    status = run.info.status if run else "MISSING"
    tags, metrics = (run.data.tags, run.data.metrics) if run else ({}, {})
    return {
        "row": row,
        "seed": seed,
        "status": status,
        **{name: tags.get(name, "") for name in TAGS},
        "step": int(metrics.get("progress/step", 0)),
        **(metrics if status == "FINISHED" else {}),
    }


def _search(client: MlflowClient, experiment_id: str, condition: str) -> list[Run]:
    runs: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs([experiment_id], condition, ViewType.ACTIVE_ONLY, max_results=PAGE, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs
