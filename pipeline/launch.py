"""Many trials at once, as many as the machine carries. The only file that knows Ray (with progress.py's callback)."""

import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

# Ray reads these when it is imported: no telemetry, no writers of its own beside MLflow, relative paths stay valid.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")

import ray
from ray import tune

from pipeline.config import config_from_json, config_to_json
from pipeline.progress import LiveTable
from pipeline.trial import TrialJob, resolve_device, run_trial

# What passes through Ray's store is a few numbers a trial; its default would reserve a third of the memory.
OBJECT_STORE_BYTES = 100 * 2**20


def run_jobs(jobs: Sequence[TrialJob], view: LiveTable, storage: Path) -> None:
    """Run every job to its end, in order, side by side where there is room; the view follows them.

    A trial that fails stops none of the others; what became of each is in its MLflow run.
    """
    compute = jobs[0].config.compute
    on_gpu = resolve_device(compute.device).type == "cuda"
    resources = {"CPU": compute.cpus_per_trial, **({"GPU": compute.gpus_per_trial} if on_gpu else {})}
    # A failed trial says why in its run; Ray would print its traceback over the table as well.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    _start_ray()
    try:
        tuner = tune.Tuner(
            tune.with_resources(_train_one, tune.PlacementGroupFactory([resources])),
            # One axis of JSON texts: Tune evaluates and expands what it finds inside of dicts.
            param_space={"job": tune.grid_search([_to_json(job) for job in jobs])},
            tune_config=tune.TuneConfig(
                trial_name_creator=_trial_name, trial_dirname_creator=_trial_name, reuse_actors=False
            ),
            run_config=tune.RunConfig(
                storage_path=str(storage.absolute()),
                name=f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}",
                callbacks=[view],
                verbose=0,
                log_to_file=True,
            ),
        )
        with view:
            tuner.fit()
    finally:
        ray.shutdown()


def _train_one(config: dict[str, str]) -> None:
    for progress in run_trial(_from_json(config["job"])):
        tune.report(asdict(progress))


def _start_ray() -> None:
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    else:
        ray.init(
            num_cpus=os.cpu_count(),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )


def _trial_name(trial: Any) -> str:
    return _from_json(trial.config["job"]).key


def _to_json(job: TrialJob) -> str:
    return json.dumps({**asdict(job), "config": config_to_json(job.config)})


def _from_json(text: str) -> TrialJob:
    fields = json.loads(text)
    return TrialJob(**{**fields, "config": config_from_json(fields["config"])})
