"""What is recorded of a sweep's evaluations: scores over training, and image grids."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from analysis.records.names import eval_metric, last_metric
from analysis.records.schema import SweepRecord
from analysis.store.open_store import open_store, readable
from analysis.store.reader import LARGEST, read_trials

# What names an evaluation in a data frame.
EVALUATION = ("row", "seed", "step", "epoch")
# The path that MLflow gives to an image with a key and a step.
GRID = r"images/grid[%+]step[%+](\d+)[%+].*\.png"


def read_course(uri: str, record: SweepRecord, score: str) -> pd.DataFrame:
    """Return row, seed, step, epoch and value of every evaluation of the finished trials, for one score.

    epoch is nan for older trials, which did not record it.
    """
    lines: list[dict[str, Any]] = []
    with readable(uri):
        histories = open_store(uri).histories([trial["run_id"] for trial in record.finished], eval_metric(score))
    for trial in record.finished:
        for logged in histories[trial["run_id"]]:
            lines.append({**_evaluation(trial, logged.step), "value": _known(logged.value)})
    return pd.DataFrame(lines, columns=[*EVALUATION, "value"])


def read_scores(uri: str, record: SweepRecord) -> pd.DataFrame:
    """Return row, seed, step, epoch and all scores of every evaluation, also of unfinished trials.

    epoch is nan for unfinished trials, and for older ones, which did not record it.
    """
    lines: list[dict[str, Any]] = []
    runs = read_trials(uri, record.sweep, record.task, record.result_version).runs
    recorded = [trial for trial in record.trials if trial["key"] in runs]
    with_score: dict[str, list[str]] = {}
    for trial in recorded:
        for name in runs[trial["key"]].metrics:
            if name.startswith(eval_metric("")):
                with_score.setdefault(name, []).append(trial["run_id"])
    with readable(uri):
        store = open_store(uri)
        histories = {name: store.histories(run_ids, name) for name, run_ids in with_score.items()}
    for trial in recorded:
        by_step: dict[int, dict[str, Any]] = {}
        for name in runs[trial["key"]].metrics:
            for logged in histories.get(name, {}).get(trial["run_id"], ()):
                line = by_step.setdefault(logged.step, _evaluation(trial, logged.step))
                line[name.removeprefix(eval_metric(""))] = _known(logged.value)
        lines += [by_step[step] for step in sorted(by_step)]
    scores = sorted({name for line in lines for name in line} - set(EVALUATION))
    return pd.DataFrame(lines, columns=[*EVALUATION, *scores])


def read_grids(uri: str, run_ids: Sequence[str], most: int) -> Mapping[str, Mapping[int, NDArray[np.uint8]]]:
    """Return image grids (H, W, 3) of each trial, by its run and by step. Trials without a grid are left out.

    A grid has three lines: the first test images of A, their translations, and the neighbours of these in B.
    most: of the evaluations of a trial, so many are read (at least 2), evenly spaced from the first to the last.
    """
    pictures: dict[str, dict[int, NDArray[np.uint8]]] = {}
    with readable(uri):
        store = open_store(uri)
        for run_id in run_ids:
            paths = store.artifacts(run_id, "images")
            grids = {int(found[1]): path for path in paths if (found := re.fullmatch(GRID, path))}
            steps, count = sorted(grids), min(most, len(grids))
            for step in [steps[at] for at in np.linspace(0, len(steps) - 1, count).round().astype(int)]:
                with Image.open(io.BytesIO(store.artifact(run_id, grids[step]))) as image:
                    pictures.setdefault(run_id, {})[step] = np.asarray(image.convert("RGB"))
    return pictures


def _evaluation(trial: Mapping[str, Any], step: int) -> dict[str, Any]:
    epochs_per_step = trial.get(last_metric("epoch"), math.nan) / trial.get(last_metric("step"), math.nan)
    return dict(zip(EVALUATION, (trial["row"], trial["seed"], step, step * epochs_per_step), strict=True))


def _known(value: float) -> float:
    return value if abs(value) < LARGEST else math.nan
