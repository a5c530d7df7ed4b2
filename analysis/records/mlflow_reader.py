"""The only reader of MLflow: a sweep's manifest, its trials' records, scores over training, and image grids."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from analysis.records.address import without_password
from analysis.records.database import is_missing, refused_schema
from analysis.records.mlflow_client import (
    MlflowClient,
    Run,
    run_by_key,
    search_experiments,
    search_runs,
)
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
    eval_metric,
    last_metric,
    row_tag,
)
from analysis.records.printable import printable
from analysis.records.schema import MANIFEST_FILE, Manifest, RecordsError, SweepRecord, read_manifest

# Values are smaller, unless the training diverged. MLflow stores infinity as the largest number of its database.
LARGEST = 1e100
# What names an evaluation in a data frame.
EVALUATION = ("row", "seed", "step", "epoch")
# The path that MLflow gives to an image with a key and a step.
GRID = r"images/grid[%+]step[%+](\d+)[%+].*\.png"


def default_store() -> str:
    """Return MLFLOW_TRACKING_URI, or without it the database mlflow.db of the working folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').absolute()}"


def read_sweep(uri: str, sweep: str, task: str, result_version: str = "") -> SweepRecord:
    """Return the newest record of a sweep on a task, or the newest of one result version of the code.

    Raises RecordsError if there is none.
    """
    for name in (sweep, task):
        if not re.fullmatch(PLAIN_NAME, name):
            raise RecordsError(
                f"{name!r} names no sweep and no task: use letters, digits, '_', '-', '.', '+' and spaces."
            )
    with _readable(uri):
        client = _open(uri)
        experiment = client.get_experiment_by_name(task)
        recorded = search_runs(client, [experiment.experiment_id], IS_SWEEP) if experiment else []
        started = [run for run in recorded if run.data.tags[Tag.SWEEP] == sweep]
        if experiment is None or not started:
            known = ", ".join(recorded_tasks(uri, sweep))
            raise RecordsError(
                f"{without_password(uri)} has no records of sweep {sweep!r} on task {task!r}. It has: {known}."
            )
        manifest = _manifest(uri, started, sweep, result_version)
        # A trial has a tag of each sweep that it belongs to, whichever of them trained it.
        of_sweep = f"{IS_TRIAL} and tags.`{row_tag(sweep)}` LIKE '%'"
        trials = search_runs(client, [experiment.experiment_id], of_sweep)
        by_key = run_by_key(trials)
        others = _other_seeds(manifest, by_key, row_tag(sweep))
        lines = [_line(row.row, seed, key, by_key.get(key)) for row in manifest.rows for seed, key in row.keys.items()]
        runs = pd.DataFrame(lines).set_index(["row", "seed"])
        if (repeated := cost_metric("steps_repeated")) in runs:
            # Recorded only where there were some.
            runs[repeated] = runs[repeated].where(runs["status"] != "FINISHED", runs[repeated].fillna(0))
        return SweepRecord(
            **vars(replace(manifest, sweep=sweep, task=task)),
            runs=runs,
            store=without_password(uri),
            experiment_id=experiment.experiment_id,
            other_seeds=others,
        )


def recorded_sweeps(uri: str) -> list[tuple[str, str]]:
    """Return the name and the task of every recorded sweep, sorted. Raises RecordsError if no store can be read."""
    with _readable(uri):
        client = _open(uri)
        # Others may have named theirs so that it would be a folder elsewhere.
        experiments = {
            found.experiment_id: found.name
            for found in search_experiments(client)
            if re.fullmatch(PLAIN_NAME, found.name)
        }
        found = search_runs(client, list(experiments), IS_SWEEP)
    return sorted({(run.data.tags[Tag.SWEEP], experiments[run.info.experiment_id]) for run in found})


def recorded_tasks(uri: str, sweep: str) -> list[str]:
    """Return the tasks on which a sweep was run. Raises RecordsError if there is no such sweep or no readable store."""
    recorded = recorded_sweeps(uri)
    tasks = [task for name, task in recorded if name == sweep]
    if not tasks:
        known = dict.fromkeys(name for name, _ in recorded)
        raise RecordsError(
            f"{without_password(uri)} has no sweep {sweep!r}. It has: {', '.join(known) or 'none'}. "
            f"Run it first: just sweep {sweep}"
        )
    return tasks


def read_course(uri: str, record: SweepRecord, score: str) -> pd.DataFrame:
    """Return row, seed, step, epoch and value of every evaluation of the finished trials, for one score.

    epoch is nan for older trials, which did not record it.
    """
    lines: list[dict[str, Any]] = []
    with _readable(uri):
        client = MlflowClient(uri)
        for trial in record.finished:
            for found in client.get_metric_history(trial["run_id"], eval_metric(score)):
                lines.append({**_evaluation(trial, found.step), "value": _known(found.value)})
    return pd.DataFrame(lines, columns=[*EVALUATION, "value"])


def read_scores(uri: str, record: SweepRecord) -> pd.DataFrame:
    """Return row, seed, step, epoch and all scores of every evaluation, also of unfinished trials.

    epoch is nan for unfinished trials, and for older ones, which did not record it.
    """
    lines: list[dict[str, Any]] = []
    with _readable(uri):
        client = MlflowClient(uri)
        for trial in record.trials:
            by_step: dict[int, dict[str, Any]] = {}
            recorded = client.get_run(trial["run_id"]).data.metrics if trial["run_id"] else {}
            for name in recorded:
                score = name.removeprefix(eval_metric(""))
                for found in client.get_metric_history(trial["run_id"], name) if score != name else ():
                    by_step.setdefault(found.step, _evaluation(trial, found.step))[score] = _known(found.value)
            lines += [by_step[step] for step in sorted(by_step)]
    scores = sorted({name for line in lines for name in line} - set(EVALUATION))
    return pd.DataFrame(lines, columns=[*EVALUATION, *scores])


def read_grids(uri: str, run_ids: Sequence[str]) -> Mapping[str, NDArray[np.uint8]]:
    """Return the image grid (H, W, 3) of each trial's last evaluation, by its run. Trials without a grid are left out.

    A grid has three lines: the first test images of A, their translations, and the neighbours of these in B.
    """
    pictures: dict[str, NDArray[np.uint8]] = {}
    with _readable(uri), TemporaryDirectory() as folder:
        client = MlflowClient(uri)
        for run_id in run_ids:
            paths = [file.path for file in client.list_artifacts(run_id, "images")]
            grids = {int(found[1]): path for path in paths if (found := re.fullmatch(GRID, path))}
            if grids:
                with Image.open(client.download_artifacts(run_id, grids[max(grids)], folder)) as image:
                    pictures[run_id] = np.asarray(image.convert("RGB"))
    return pictures


def _open(uri: str) -> MlflowClient:
    """Open a store that exists. MLflow would create a missing database."""
    if is_missing(uri):
        raise RecordsError(f"{uri}: no such database. The first trial creates it, or name another store.")
    if fault := refused_schema(uri):
        raise RecordsError(f"{fault}.")
    return MlflowClient(uri)


@contextmanager
def _readable(uri: str) -> Iterator[None]:
    try:
        yield
    except RecordsError:
        raise
    except Exception as error:  # of MLflow, the database or the network
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RecordsError(f"{without_password(uri)}: the MLflow store cannot be read ({reason})") from None


def _manifest(uri: str, started: Sequence[Run], sweep: str, result_version: str) -> Manifest:
    """Return the manifest of the newest run of a sweep, or of the newest of a result version."""
    # Older sweeps did not record it. They are of version 1.
    versions = {run.info.run_id: run.data.tags.get(Tag.RESULT_VERSION, "1") for run in started}
    matching = [run for run in started if result_version in ("", versions[run.info.run_id])]
    if not matching:
        known = ", ".join(sorted(set(versions.values())))
        raise RecordsError(
            f"{without_password(uri)}: sweep {sweep!r} has no result version {result_version!r}. It has {known}."
        )
    newest = max(matching, key=lambda run: run.info.start_time)
    with TemporaryDirectory() as folder:
        path = MlflowClient(uri).download_artifacts(newest.info.run_id, MANIFEST_FILE, folder)
        return read_manifest(json.loads(Path(path).read_text(encoding="utf-8")))


def _other_seeds(manifest: Manifest, trials: Mapping[str, Run], row_of: str) -> Mapping[int, int]:
    """Return the seeds of finished trials that equal a row's trial in all but the seed, and of how many rows they are.

    trials: by key, those of the sweep as it is and as it was. row_of: the tag with the name of a trial's row.
    """
    asked = {key for row in manifest.rows for key in row.keys.values()}
    wanted = {(run.data.tags.get(row_of), _all_but_seed(run)) for key, run in trials.items() if key in asked}
    finished = [run for key, run in trials.items() if key not in asked and run.info.status == "FINISHED"]
    found = [run for run in finished if (run.data.tags.get(row_of), _all_but_seed(run)) in wanted]
    return Counter(sorted(int(run.data.params["seed"]) for run in found if "seed" in run.data.params))


def _all_but_seed(run: Run) -> frozenset[tuple[str, str]]:
    made_with = {tag: run.data.tags.get(tag, "") for tag in (Tag.DATA_FINGERPRINT, Tag.RESULT_VERSION)}
    return frozenset({**run.data.params, **made_with, "seed": ""}.items())


def _evaluation(trial: Mapping[str, Any], step: int) -> dict[str, Any]:
    epochs_per_step = trial.get(last_metric("epoch"), np.nan) / trial.get(last_metric("step"), np.nan)
    return dict(zip(EVALUATION, (trial["row"], trial["seed"], step, step * epochs_per_step), strict=True))


def _known(value: float) -> float:
    return value if abs(value) < LARGEST else np.nan


def _line(row: str, seed: int, key: str, run: Run | None) -> dict[str, Any]:
    which = {"row": row, "seed": seed, "key": key}
    if run is None:
        return {**which, **trial_line("", "MISSING", {}, {})}
    return {**which, **trial_line(run.info.run_id, run.info.status, run.data.metrics, run.data.tags)}


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
