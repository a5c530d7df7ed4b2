"""The only reader of MLflow: a sweep's list of trials, what each of them recorded, its course and its pictures."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run, ViewType

from analysis.records.schema import TAGS, VALUES, RecordsError, SweepRecord, SweepRow

MANIFEST = "sweep.json"
PAGE = 1000
# Any value that a trial can end with is smaller.
LARGEST = 1e300


def read_sweep(uri: str, sweep: str, task: str, result_version: str = "") -> SweepRecord:
    """The newest record of a sweep on a task, or the newest by one result version of the code.

    Raises RecordsError where there is none.
    """
    with _readable(uri):
        client = _open(uri)
        experiment = client.get_experiment_by_name(task)
        if experiment is None:
            known = sorted(found.name for found in client.search_experiments() if found.name != "Default")
            raise RecordsError(
                f"{without_password(uri)}: nothing is recorded for task {task!r}; recorded: "
                f"{', '.join(known) or 'nothing'}"
            )
        manifest = _manifest(client, experiment.experiment_id, sweep, result_version, uri)
        # Whichever sweep trained it, a trial has a tag of each sweep that it belongs to.
        trials = _search(client, experiment.experiment_id, f"tags.kind = 'trial' and tags.`row.{sweep}` LIKE '%'")
        by_key = {run.data.tags["trial_key"]: run for run in trials}
        rows = tuple(_row(row) for row in manifest["rows"])
        lines = [_line(row.row, seed, key, by_key.get(key)) for row in rows for seed, key in row.keys.items()]
        return SweepRecord(
            sweep=sweep,
            question=manifest["question"],
            task=task,
            default=manifest.get("default", rows[0].row),
            axes=tuple(manifest.get("axes", ())),
            base=tuple(manifest.get("base", ())),
            overrides=tuple(manifest["overrides"]),
            rows=rows,
            runs=pd.DataFrame(lines).set_index(["row", "seed"]),
            price_per_hour=manifest.get("price_per_hour"),
            command=tuple(manifest.get("command", ())),
            file=manifest.get("file", ""),
            place=without_password(uri),
            experiment_id=experiment.experiment_id,
        )


def without_password(uri: str) -> str:
    """A store's address as it may be shown to anybody."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri


def recorded_tasks(uri: str, sweep: str) -> list[str]:
    """The tasks that a sweep was run on. Raises RecordsError where the store cannot be read, or none is recorded."""
    with _readable(uri):
        client = _open(uri)
        experiments = {found.experiment_id: found.name for found in client.search_experiments()}
        found = _search(client, list(experiments), "tags.kind = 'sweep'")
    tasks = {experiments[run.info.experiment_id] for run in found if run.data.tags["sweep"] == sweep}
    if not tasks:
        known = sorted({run.data.tags["sweep"] for run in found})
        raise RecordsError(
            f"{without_password(uri)}: no sweep {sweep!r} is recorded; recorded: {', '.join(known) or 'none'}; "
            f"run it: just sweep {sweep}"
        )
    return sorted(tasks)


def read_course(uri: str, record: SweepRecord, score: str) -> pd.DataFrame:
    """Every evaluation of the finished trials by one score: a line each with row, seed, step, epoch and value.

    epoch is nan for trials of before it was recorded.
    """
    lines: list[dict[str, Any]] = []
    with _readable(uri):
        client = MlflowClient(uri)
        for trial in record.finished:
            epochs_per_step = trial.get("last/epoch", np.nan) / trial.get("last/step", np.nan)
            for found in client.get_metric_history(trial["run_id"], f"eval/{score}"):
                which = {"row": trial["row"], "seed": trial["seed"], "step": found.step}
                value = found.value if abs(found.value) < LARGEST else np.nan
                lines.append({**which, "epoch": found.step * epochs_per_step, "value": value})
    return pd.DataFrame(lines, columns=["row", "seed", "step", "epoch", "value"])


def read_grids(uri: str, run_ids: Sequence[str]) -> Mapping[str, NDArray[np.uint8]]:
    """The picture (H, W, 3) of each trial's last evaluation, by its run; trials that have none are left out.

    It holds the first test images of A side by side, below them their translations, below those their neighbours in B.
    """
    pictures: dict[str, NDArray[np.uint8]] = {}
    with _readable(uri), TemporaryDirectory() as folder:
        client = MlflowClient(uri)
        for run_id in run_ids:
            found = {_step(file.path): file.path for file in client.list_artifacts(run_id, "images")}
            last = max((step for step in found if step is not None), default=None)
            if last is not None:
                path = client.download_artifacts(run_id, found[last], folder)
                with Image.open(path) as image:
                    pictures[run_id] = np.asarray(image.convert("RGB"))
    return pictures


def _open(uri: str) -> MlflowClient:
    """Of a database that is not there, MLflow would lay out an empty one."""
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise RecordsError(
            f"{without_password(uri)}: no such database; it is made by the first trial, or name another store"
        )
    return MlflowClient(uri)


@contextmanager
def _readable(uri: str) -> Iterator[None]:
    try:
        yield
    except RecordsError:
        raise
    except Exception as error:  # MLflow's, the database's and the network's own kinds, many of them
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RecordsError(f"{without_password(uri)}: the MLflow store cannot be read ({reason})") from None


def _manifest(client: MlflowClient, experiment_id: str, sweep: str, result_version: str, uri: str) -> dict[str, Any]:
    recorded = _search(client, [experiment_id], "tags.kind = 'sweep'")
    found = [run for run in recorded if run.data.tags["sweep"] == sweep]
    if not found:
        known = sorted({run.data.tags["sweep"] for run in recorded})
        raise RecordsError(
            f"{without_password(uri)}: no sweep {sweep!r} is recorded; recorded: {', '.join(known) or 'none'}"
        )
    # Sweeps of before it was recorded are of the first version.
    versions = {run.info.run_id: run.data.tags.get("result_version", "1") for run in found}
    alike = [run for run in found if result_version in ("", versions[run.info.run_id])]
    if not alike:
        known = ", ".join(sorted(set(versions.values())))
        raise RecordsError(
            f"{without_password(uri)}: sweep {sweep!r} has no result version {result_version!r}; it has {known}"
        )
    newest = max(alike, key=lambda run: run.info.start_time)
    path = download_artifacts(run_id=newest.info.run_id, artifact_path=MANIFEST, tracking_uri=uri)
    return json.loads(Path(path).read_text(encoding="utf-8"))


def _row(row: Mapping[str, Any]) -> SweepRow:
    keys = {int(seed): key for seed, key in row["keys"].items()}
    return SweepRow(row["row"], row["paper"], keys, row.get("settings", {}))


def _line(row: str, seed: int, key: str, run: Run | None) -> dict[str, Any]:
    status = run.info.status if run else "MISSING"
    tags, metrics = (run.data.tags, run.data.metrics) if run else ({}, {})
    ended = {name: value for name, value in metrics.items() if name.startswith(VALUES)}
    # MLflow writes an infinite value as the largest that its database takes.
    not_finite = [name for name, value in ended.items() if not abs(value) < LARGEST]
    ended = {name: value for name, value in ended.items() if name not in not_finite}
    return {
        **{"row": row, "seed": seed, "status": status, "key": key, "run_id": run.info.run_id if run else ""},
        **{name: tags.get(name, "") for name in TAGS},
        "not_finite": ", ".join(not_finite) if status == "FINISHED" else "",
        "step": int(metrics.get("progress/step", 0)),
        **(ended if status == "FINISHED" else {}),
    }


def _step(path: str) -> int | None:
    """Of a file as MLflow names an image that has a key and a step."""
    found = re.fullmatch(r"images/grid[%+]step[%+](\d+)[%+].*\.png", path)
    return int(found[1]) if found else None


def _search(client: MlflowClient, experiment_ids: Sequence[str], condition: str) -> list[Run]:
    runs: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs(list(experiment_ids), condition, ViewType.ACTIVE_ONLY, PAGE, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs
