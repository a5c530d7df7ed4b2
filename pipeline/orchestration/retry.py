"""What a round of a sweep leaves to do: retries with more memory, and trials of other processes."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.hardware.allocation import part_of_gpu
from pipeline.hardware.device import Machine
from pipeline.orchestration.live_table import LiveView
from pipeline.tracking.store import Tracker
from pipeline.trial.job import Ending, Outcome, TrialJob
from pipeline.trial.lock import is_claimed

POLL_SECONDS = 2.0
_ENDINGS: dict[str, Ending] = {"FINISHED": "done", "FAILED": "failed", "KILLED": "stopped"}


def retried(job: TrialJob, machine: Machine) -> TrialJob | None:
    """Return the job with twice the memory, up to a whole device; None if it had a whole device already."""
    share = job.share
    if share.on_one_device <= 1:
        return None
    fewer = share.on_one_device // 2
    # The trial's own failure must not prevent its retry.
    final_statuses = tuple(status for status in job.final_statuses if status != "FAILED")
    gpus, slots = (0.0, fewer) if machine.device == "cpu" else (part_of_gpu(fewer), machine.gpus * fewer)
    more = replace(share, gpus=gpus, memory_gb=machine.memory_gb / fewer, slots=slots)
    return replace(job, share=more, final_statuses=final_statuses)


def next_round(
    jobs: Sequence[TrialJob], outcomes: Mapping[str, Outcome], machine: Machine
) -> tuple[list[TrialJob], list[TrialJob]]:
    """Return the jobs that ran out of memory, with more of it, and the jobs that other processes were training."""
    retries = [retried(job, machine) for job in jobs if outcomes[job.key].ending == "memory"]
    elsewhere = [job for job in jobs if outcomes[job.key].ending == "taken"]
    return [job for job in retries if job], elsewhere


def wait_for_others(jobs: list[TrialJob], tracker: Tracker, view: LiveView) -> list[TrialJob]:
    """Wait until another process leaves one of these jobs unfinished, or all have ended; return those left."""
    while jobs:
        unlocked = {job.key for job in jobs if not is_claimed(Path(job.checkpoint).parent)}
        records = tracker.find_trials()
        left: list[TrialJob] = []
        for job in jobs:
            record = records.get(job.key)
            if job.key in unlocked and record is None:
                view.end(job.key, Outcome("failed", "it was dropped"))
            elif job.key in unlocked and record and record.status in job.final_statuses:
                view.end(job.key, Outcome(_ENDINGS[record.status], "by another process"))
            else:
                left.append(job)
        if not left or any(job.key in unlocked for job in left):
            return left
        jobs = left
        time.sleep(POLL_SECONDS)
    return []
