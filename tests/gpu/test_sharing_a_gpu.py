"""Trials that share a GPU, each in its own process under Ray, as in a sweep."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.cluster.ray_cluster import own_cluster
from pipeline.config.sweep_file import Row, Sweep
from pipeline.data.stripes import draw_pictures
from pipeline.hardware.allocation import CUDA_ALLOWANCE_GB
from pipeline.metrics.distances import frechet_distance, statistics_of
from pipeline.metrics.extractors import load_extractor
from pipeline.metrics.feature_cache import extract, in_batches
from pipeline.metrics.names import INCEPTION
from pipeline.orchestration.job_queue import JobQueue
from pipeline.orchestration.planner import plan_sweep
from pipeline.orchestration.ray_tune import Events, run_jobs
from pipeline.orchestration.registration import register_trials
from pipeline.orchestration.requirements import estimate_requirements
from pipeline.trial.job import Outcome
from pipeline.trial.server import trial_server

pytestmark = pytest.mark.gpu

SMALL = ["data.train_count=16", "data.test_count=16", "train.constant_epochs=2", "train.decay_epochs=1"]


def trials() -> list[Run]:
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    return client.search_runs([e.experiment_id for e in client.search_experiments()], "tags.kind = 'trial'")


@pytest.mark.parametrize("count", [2, 4])
def test_trials_side_by_side_stay_within_their_shares(count: int, project: Path, device: torch.device) -> None:
    seeds = f"seeds={list(range(count))}".replace(" ", "")
    rows = "rows: [{row: CUT, set: {}}]"
    Path("sweeps/side.yaml").write_text(f"name: side\nquestion: Do they fit?\nseeds: [0]\n{rows}\n")
    command = [sys.executable, "-m", "pipeline"]
    share = [f"compute.gpus_per_trial={1 / count:g}"] if device.type == "cuda" else ["compute.device=cpu"]
    done = subprocess.run(
        [*command, "sweep", "side", seeds, *SMALL, *share], capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ended = trials()
    assert [run.info.status for run in ended] == ["FINISHED"] * count
    if device.type == "cpu":
        return
    total_gb = torch.cuda.get_device_properties(0).total_memory / 1e9
    for run in ended:
        assert run.data.tags["packed"] == f"up to {count} side by side"
        assert run.data.tags["device"] == "cuda"
        peaks = [run.data.metrics[f"cost/{phase}_peak_reserved_gb"] for phase in ("training", "evaluation")]
        assert 0 < max(peaks) <= total_gb / count - CUDA_ALLOWANCE_GB


def test_what_runs_out_of_its_share_ends_alone_is_given_more_and_finishes(project: Path, cuda: torch.device) -> None:
    sweep = Sweep("greedy", "Does more memory help?", (0, 1), (Row("CUT", {}),))
    outcomes: dict[str, list[str]] = {}

    def ended(key: str, outcome: Outcome) -> None:
        outcomes.setdefault(key, []).append(outcome.ending)
        queue.end(key, outcome)

    with trial_server() as server:
        plan = plan_sweep(sweep, [*SMALL, "compute.device=cuda"])
        enough, starved = register_trials(plan, estimate_requirements(plan))
        # 20 MB of tensors. torch's allocator reserves more than this at once.
        eighth = replace(starved.share, gpus=0.125, memory_gb=CUDA_ALLOWANCE_GB + 0.02, slots=8, cpus=1)
        jobs = [replace(enough, share=replace(enough.share, gpus=0.5, slots=2, cpus=1)), replace(starved, share=eighth)]
        queue = JobQueue(jobs, plan.machine)
        events = Events(lambda key: None, lambda key, progress: None, ended)
        with own_cluster(2, 1, 8.0):
            run_jobs(queue, 2, events, Path("ray"), server)
    assert outcomes == {enough.key: ["done"], starved.key: ["memory", "done"]}
    assert {run.info.status for run in trials()} == {"FINISHED"}


def test_features_and_distance_are_those_of_the_cpu(device: torch.device, random_inception: Path) -> None:
    extractor = load_extractor(INCEPTION, str(random_inception))
    a, b = (
        draw_pictures(24, (64, 64), seed, striped=bool(seed)).images.transpose(0, 3, 1, 2).copy() for seed in (0, 1)
    )
    found = {
        place: [extract(extractor, in_batches(images, 8), place) for images in (a, b)]
        for place in (torch.device("cpu"), device)
    }
    expected, features = found[torch.device("cpu")], found[device]
    for one, two in zip(expected, features, strict=True):
        assert float((one - two).norm() / one.norm()) < 1e-3
    distances = [frechet_distance(*(statistics_of(part) for part in both)) for both in (expected, features)]
    assert distances[1] == pytest.approx(distances[0], rel=1e-3)


def test_a_plan_on_a_gpu_says_where_trials_run(project: Path, cuda: torch.device) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "plan", "smoke", "--json"], capture_output=True, text=True, check=True
    )
    planned = json.loads(done.stdout)
    assert planned["device"]["kind"] == "cuda" and planned["device"]["name"] == torch.cuda.get_device_name(0)
    assert all(0 < trial["gpus"] <= 1 for trial in planned["trials"])
