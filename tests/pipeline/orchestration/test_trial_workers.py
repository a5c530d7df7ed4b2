"""Ray workers and the trial processes they start."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import ray
import stub_trials

from pipeline.cluster.ray_cluster import own_cluster
from pipeline.config.schema import Config
from pipeline.errors import UserError
from pipeline.hardware.device import Machine
from pipeline.hardware.share import Share
from pipeline.orchestration.job_queue import MOST_LOSSES, JobQueue
from pipeline.orchestration.ray_tune import Events, require_offer, run_jobs
from pipeline.trial.job import Outcome, TrialJob
from pipeline.trial.process import Target
from pipeline.trial.server import trial_server

pytestmark = pytest.mark.slow


@pytest.fixture
def stubs(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let trial processes import the stubs by name."""
    monkeypatch.setenv("PYTHONPATH", str(Path(stub_trials.__file__).parent), prepend=os.pathsep)
    return project


def run_stubs(target: Target, jobs: list[TrialJob], other_node: bool = False) -> dict[str, Outcome]:
    """Run the jobs, and again those that may. On another node, the path of the sweep's trial server does not exist."""
    outcomes: dict[str, Outcome] = {}
    queue = JobQueue(jobs, MACHINE)

    def end(key: str, outcome: Outcome) -> None:
        outcomes[key] = outcome
        queue.end(key, outcome)

    events = Events(lambda key: None, lambda key, progress: None, end)
    with trial_server() as server, own_cluster(2, 0, 8.0):
        run_jobs(queue, 2, events, Path("ray"), "/not/here" if other_node else server, target=target)
    return outcomes


MACHINE = Machine("cpu", "two cores", cores=2, gpus=0, memory_gb=8.0)


def jobs_of(config: Config, count: int) -> list[TrialJob]:
    share = Share(cpus=1, gpus=0.0, memory_gb=4.0, slots=2)
    return [
        TrialJob(replace(config, seed=seed), f"key{seed}", "run", "data", "checkpoint", "cache", "uri", share)
        for seed in range(count)
    ]


def test_what_runs_out_of_memory_is_tried_again_with_twice_as_much(stubs: Path, tiny: Callable[..., Config]) -> None:
    outcomes = run_stubs(stub_trials.hungry, jobs_of(tiny(), 2))
    assert {outcome.ending for outcome in outcomes.values()} == {"done"}
    tries = Path("tries.txt").read_text().splitlines()
    assert tries == ["4.0 of 2 slots"] * 2 + ["8.0 of 1 slots"] * 2


def test_a_trial_whose_process_is_killed_takes_no_other_with_it(stubs: Path, tiny: Callable[..., Config]) -> None:
    outcomes = run_stubs(stub_trials.killed_each_time, jobs_of(tiny(), 3))
    assert [outcome.ending for outcome in outcomes.values()] == ["lost"] * 3
    assert all("signal 9" in outcome.reason for outcome in outcomes.values())
    # Each at once runs again, as often as it may without a newer checkpoint.
    assert len(Path("kills.txt").read_text()) == 3 * (1 + MOST_LOSSES)


def test_a_node_without_the_sweeps_trial_server_starts_its_own(stubs: Path, tiny: Callable[..., Config]) -> None:
    outcomes = run_stubs(stub_trials.steady, jobs_of(tiny(), 3), other_node=True)
    assert list(outcomes.values()) == [Outcome("done")] * 3


def test_a_job_that_no_node_can_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    named = {"NodeID": "id", "NodeManagerAddress": "127.0.0.1"}
    alive = {**named, "Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0}}
    nodes = [alive, {**named, "Alive": False, "Resources": {"GPU": 2.0}}]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    require_offer(Share(cpus=8, gpus=1.0, memory_gb=4.0, slots=1))
    with pytest.raises(UserError, match=r"needs 2 GPUs.* has 1 GPU\..*compute\.gpus_per_trial"):
        require_offer(Share(cpus=1, gpus=2.0, memory_gb=4.0, slots=1))
    with pytest.raises(UserError, match=r"needs 4 GB of memory.* has 0 GB.*compute\.memory_gb"):
        require_offer(Share(cpus=1, gpus=0.0, memory_gb=4.0, slots=1))
