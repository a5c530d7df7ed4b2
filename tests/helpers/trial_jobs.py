"""Jobs of single trials, and what they leave in MLflow."""

from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.config.compose import tracking_uri
from pipeline.config.schema import Config
from pipeline.config.trial_key import trial_key
from pipeline.data.dataset_cache import prepare
from pipeline.hardware.share import Share
from pipeline.orchestration.planner import checkpoint_path
from pipeline.tracking.store import Tracker, store_lock
from pipeline.trial.job import TrialJob


def job_of(config: Config, experiment: str = "stripes") -> TrialJob:
    data = prepare(config.data, Path(".cache"))
    uri = tracking_uri(config)
    key = trial_key(config, data.fingerprint, "")
    tracker = Tracker(uri, experiment, Path("mlartifacts").absolute().as_uri(), store_lock(uri, Path("trials")))
    run_id = tracker.create_trial(key, "row, seed 0")
    places = (str(data.folder), str(checkpoint_path(config, key)), str(Path(".cache").absolute()), uri)
    return TrialJob(config, key, run_id, *places, Share(1, 0.0, 1.0, 2))


def read(job: TrialJob) -> Run:
    return MlflowClient(job.tracking_uri).get_run(job.run_id)


def history(job: TrialJob) -> dict[str, list[tuple[int, float]]]:
    client = MlflowClient(job.tracking_uri)
    names = [name for name in read(job).data.metrics if name.startswith(("train/", "eval/"))]
    return {name: [(m.step, m.value) for m in client.get_metric_history(job.run_id, name)] for name in names}
