"""A store filled by hand, like that of a sweep in which some trials failed."""

from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient

SETTINGS = {
    "internal": {"model.negatives": "internal"},
    "external": {"model.negatives": "external"},
    "both_|<%\\>": {"model.negatives": "internal, external"},
    "never ran": {"model.negatives": "minibatch"},
}
PAPERS = {"internal": "Fig. 4: CUT (default)", "external": "Fig. 4: ext only"}
TAGS = {
    **{"commit": "0123456789ab", "result_version": "1", "data_fingerprint": "feedbeef", "device_name": "A Processor"},
    **{"torch": "2.14.1", "timed": "on A Processor with 1 threads, float32, alone", "computed_by": "torch-fidelity"},
    **{"extractor": "small-conv", "weights": "28eed871", "layer": "144", "dimensions": "144", "resize": "none"},
    **{"image_size": "8 x 8", "images_a": "40", "images_b": "256", "kid_subset_size": "20", "arithmetic": "float32"},
}
# FD at each of three evaluations.
COURSES = {
    ("internal", 0): (40.0, 12.0, 14.0),
    ("internal", 1): (50.0, 9.0, 8.5),
    ("external", 0): (90.0, 30.0, 35.0),
    ("external", 1): (80.0, 25.0, 31.0),
    ("both_|<%\\>", 0): (60.0, 20.0, 18.0),
}
SEEDS = (0, 1)


def fill(folder: Path, task: str = "stripes", shift: float = 0.0, *, older: bool = False, location: str = "") -> str:
    """Write sweep 'hand_made' on a task into a store in the folder; gives its address.

    'internal' and 'external' have two seeds, 'both' one and a stopped one, 'never ran' a failed one and none. shift:
    added to every score. older: as records were before settings and the default row were in them. location: of files.
    """
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(uri)
    experiment = client.create_experiment(task, location or (folder / "artifacts").as_uri())
    rows = []
    for row, settings in SETTINGS.items():
        keys = {str(seed): f"{task}-{row}-{seed}" for seed in SEEDS}
        added = {} if older else {"settings": {"model.places": "res5", **settings}}
        rows.append({"row": row, "paper": PAPERS.get(row, ""), "keys": keys, **added})
    manifest = {"question": "Is it 100 % <right>?", "overrides": [], "rows": rows, "price_per_hour": None}
    if not older:
        manifest |= {"default": "internal", "axes": ["model.negatives"], "base": ["model=cut"], "command": []}
    _sweep(client, experiment, {**manifest, "question": "What did it ask before?"}, start_time=1, result_version="0")
    _sweep(client, experiment, manifest, start_time=2)
    for (row, seed), course in COURSES.items():
        run_id = _trial(client, experiment, task, row, seed)
        costs = {"cost/seconds_per_iteration": 0.05, "cost/training_peak_live_gb": 0.02 if row == "internal" else 0.06}
        costs["cost/device_hours"] = 0.5
        for number, score in enumerate(course, start=1):
            client.log_metric(run_id, "eval/fd_small_conv", score + shift, step=256 * number)
        last, best = course[-1] + shift, min(course) + shift
        values = {"last/fd_small_conv": last, "best/fd_small_conv": best, "source/fd_small_conv": 86.6, **costs}
        values |= {"last/step": 768.0, "last/epoch": 3.0, "last/kd_small_conv": last / 10}
        for name, value in values.items():
            client.log_metric(run_id, name, value)
        for step, score in ((256, course[0]), (768, course[-1])):
            client.log_image(run_id, np.full((24, 16, 3), int(100 + score), np.uint8), key="grid", step=step)
        client.log_param(run_id, "train.learning_rate", "0.0002")
        client.set_terminated(run_id, "FINISHED")
    stopped = _trial(client, experiment, task, "both_|<%\\>", 1, stopped="by the search after epoch 1")
    client.log_metric(stopped, "last/fd_small_conv", 0.1)
    client.set_terminated(stopped, "KILLED")
    failed = _trial(client, experiment, task, "never ran", 0, error="RuntimeError: no_room & <none> | 5%")
    client.set_terminated(failed, "FAILED")
    return uri


def _sweep(client: MlflowClient, experiment: str, manifest: dict[str, Any], start_time: int, **tags: str) -> None:
    named = {"kind": "sweep", "sweep": "hand_made", **tags}
    run_id = client.create_run(experiment, start_time=start_time, tags=named).info.run_id
    client.log_dict(run_id, manifest, "sweep.json")
    client.set_terminated(run_id)


def _trial(client: MlflowClient, experiment: str, task: str, row: str, seed: int, **tags: str) -> str:
    named = {"kind": "trial", "trial_key": f"{task}-{row}-{seed}", "row.hand_made": row}
    return client.create_run(experiment, tags={**named, **TAGS, **tags}).info.run_id
