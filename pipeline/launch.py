"""Many trials at once, as many as the machine carries. The only file that knows Ray."""

import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
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

from pipeline.compute import resolve_device
from pipeline.errors import UserError
from pipeline.progress import LiveTable
from pipeline.settings import ComputeConfig, from_json, to_json
from pipeline.trial import Progress, TrialJob, run_trial

# What passes through Ray's store is a few numbers a trial; its default would reserve a third of the memory.
OBJECT_STORE_BYTES = 100 * 2**20


@contextmanager
def cluster(compute: ComputeConfig) -> Iterator[None]:
    """Ray, while trials run: that of RAY_ADDRESS, else one of this machine's own.

    Raises UserError where it could never carry a single trial, since Tune would wait for ever.
    """
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    else:
        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    try:
        offered = ray.cluster_resources()
        for name, wanted in _resources(compute).items():
            if wanted > offered.get(name, 0):
                setting = f"compute.{name.lower()}s_per_trial={wanted:g}"
                raise UserError(f"{setting}: there are only {offered.get(name, 0):g} here; lower it")
        yield
    finally:
        ray.shutdown()


def run_jobs(jobs: Sequence[TrialJob], view: LiveTable, storage: Path) -> None:
    """Run every job to its end, in order, side by side where there is room; the view follows them.

    A trial that fails stops none of the others; what became of each is in its MLflow run.
    """
    # A failed trial says why in its run; Ray would print its traceback over the table as well.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    tuner = tune.Tuner(
        tune.with_resources(_train_one, tune.PlacementGroupFactory([_resources(jobs[0].config.compute)])),
        # One axis of JSON texts: Tune evaluates and expands what it finds inside of dicts.
        param_space={"job": tune.grid_search([_to_json(job) for job in jobs])},
        tune_config=tune.TuneConfig(
            trial_name_creator=_trial_name, trial_dirname_creator=_trial_name, reuse_actors=False
        ),
        run_config=tune.RunConfig(
            storage_path=str(storage.absolute()),
            name=f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}",
            callbacks=[_Follower(view)],
            verbose=0,
            log_to_file=True,
        ),
    )
    with view:
        tuner.fit()


class _Follower(tune.Callback):
    """Tells the view what Tune tells its callbacks."""

    def __init__(self, view: LiveTable) -> None:
        self.view = view

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks for a restore that is never made here: trials resume from their own checkpoints.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.view.change(str(trial), "running")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self.view.follow(str(trial), Progress(**{name.name: result[name.name] for name in fields(Progress)}))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.view.change(str(trial), "done")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.view.change(str(trial), "failed")


def _train_one(config: dict[str, str]) -> None:
    for progress in run_trial(_from_json(config["job"])):
        tune.report(asdict(progress))


def _resources(compute: ComputeConfig) -> dict[str, float]:
    on_gpu = resolve_device(compute.device).type == "cuda"
    return {"CPU": compute.cpus_per_trial, **({"GPU": compute.gpus_per_trial} if on_gpu else {})}


def _trial_name(trial: Any) -> str:
    return _from_json(trial.config["job"]).key


def _to_json(job: TrialJob) -> str:
    return json.dumps({**asdict(job), "config": to_json(job.config)})


def _from_json(text: str) -> TrialJob:
    job = json.loads(text)
    return TrialJob(**{**job, "config": from_json(job["config"])})
