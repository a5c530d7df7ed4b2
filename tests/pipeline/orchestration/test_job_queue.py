"""Which job runs next, and which runs again."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config.compose import compose_config
from pipeline.hardware.device import Machine
from pipeline.hardware.share import Share
from pipeline.orchestration.job_queue import MOST_LOSSES, JobQueue
from pipeline.trial.job import Outcome, Progress, TrialJob

MACHINE = Machine("cuda", "one GPU", cores=8, gpus=1, memory_gb=80.0)
LOST = Outcome("lost", "killed")


@pytest.fixture
def job(tmp_path: Path) -> TrialJob:
    share = Share(cpus=1, gpus=0.25, memory_gb=20.0, slots=4)
    checkpoint = str(tmp_path / "last.pt")
    return TrialJob(compose_config(["task=stripes"]), "key", "run", "data", checkpoint, "cache", "uri", share)


def run(queue: JobQueue, outcome: Outcome, began_at: int = 0) -> bool:
    """Let the next job begin at a step and end like this. Return whether it will run again."""
    running = queue.next()
    assert running
    return queue.end(running.key, outcome, Progress(began_at + 1, 99, began_at, 0.1, 1.0, 0, None, False, None))


def test_jobs_come_in_their_order_and_nothing_is_left_only_when_none_runs(job: TrialJob) -> None:
    jobs = [replace(job, key=key) for key in "ab"]
    queue = JobQueue(jobs, MACHINE)
    assert [queue.next(), queue.next(), queue.next()] == [*jobs, None]
    assert not queue.end("a", Outcome("done")) and not queue.finished
    assert not queue.end("b", Outcome("failed", "why")) and queue.finished


def test_what_ran_out_of_memory_runs_again_with_more_until_it_had_a_whole_device(job: TrialJob) -> None:
    queue, gpus = JobQueue([job], MACHINE), []
    while running := queue.next():
        gpus.append(running.share.gpus)
        queue.end("key", Outcome("memory"))
    assert gpus == [0.25, 0.5, 1.0] and queue.finished


def test_a_lost_trial_runs_again_but_not_for_ever_without_a_newer_checkpoint(job: TrialJob) -> None:
    queue = JobQueue([job], MACHINE)
    assert [run(queue, LOST) for _ in range(MOST_LOSSES)] == [True] * MOST_LOSSES
    assert [run(queue, LOST, began_at=4) for _ in range(MOST_LOSSES)] == [True] * MOST_LOSSES
    assert [run(queue, LOST, began_at=8) for _ in range(MOST_LOSSES + 1)] == [*[True] * MOST_LOSSES, False]
    assert queue.lost["key"] == 3 * MOST_LOSSES + 1 and queue.next() is None


@pytest.mark.parametrize("ending", ["done", "failed", "stopped", "taken", "interrupted", "requested"])
def test_other_endings_are_final(job: TrialJob, ending: str) -> None:
    queue = JobQueue([job], MACHINE)
    assert not run(queue, Outcome(ending))  # pyright: ignore[reportArgumentType]
    assert queue.finished
