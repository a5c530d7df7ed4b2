"""Which job runs next: new ones, and those that run again, with more memory or after a loss."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.hardware.allocation import part_of_gpu
from pipeline.hardware.device import Machine
from pipeline.trial.job import Outcome, TrialJob

# Of one trial, without a newer checkpoint in between.
MOST_LOSSES = 3


class JobQueue:
    """Jobs that wait or run. A job that ran out of memory runs again with more; a lost one from its checkpoint.

    lost: how often each trial was lost, by key. A loss says nothing about the trial, so it runs again, but at most
    `MOST_LOSSES` times without a newer checkpoint.
    """

    def __init__(self, jobs: Sequence[TrialJob], machine: Machine) -> None:
        self.jobs: dict[str, TrialJob] = {}
        self.lost: Counter[str] = Counter()
        self._machine = machine
        self._waiting: deque[TrialJob] = deque()
        self._running: set[str] = set()
        self._losses_since: dict[str, tuple[int, int]] = {}
        self.add(jobs)

    def add(self, jobs: Sequence[TrialJob]) -> None:
        """Let further jobs wait."""
        self.jobs |= {job.key: job for job in jobs}
        self._waiting += jobs

    @property
    def empty(self) -> bool:
        """Whether no job waits."""
        return not self._waiting

    @property
    def finished(self) -> bool:
        """Whether no job waits or runs. One that runs may have to run again."""
        return self.empty and not self._running

    def next(self) -> TrialJob | None:
        """Return the next job; None if no job waits now."""
        if self.empty:
            return None
        job = self._waiting.popleft()
        self._running.add(job.key)
        return job

    def end(self, key: str, outcome: Outcome) -> bool:
        """A job has ended. Return whether it will run again."""
        self._running.discard(key)
        again = None
        if outcome.ending == "memory":
            again = retried(self.jobs[key], self._machine)
        elif outcome.ending == "lost" and self._may_go_on(self.jobs[key]):
            again = self.jobs[key]
        if again:
            self.add([again])
        return again is not None

    def _may_go_on(self, job: TrialJob) -> bool:
        checkpoint = Path(job.checkpoint)
        saved = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        at, losses = self._losses_since.get(job.key, (saved, 0))
        losses = losses + 1 if saved == at else 1
        self._losses_since[job.key] = saved, losses
        self.lost[job.key] += 1
        return losses <= MOST_LOSSES


def retried(job: TrialJob, machine: Machine) -> TrialJob | None:
    """Return the job with twice the memory, up to a whole device; None if it had a whole device already."""
    share = job.share
    if share.on_one_device <= 1:
        return None
    fewer = share.on_one_device // 2
    # The trial's own failure must not prevent its retry.
    final_statuses = tuple(status for status in job.final_statuses if status != "FAILED")
    gpus, slots = (0.0, fewer) if machine.device == "cpu" else (part_of_gpu(fewer), machine.gpus * fewer)
    memory_gb = machine.memory_gb / fewer / share.processes
    more = replace(share, gpus=gpus, memory_gb=memory_gb, slots=slots)
    return replace(job, share=more, final_statuses=final_statuses)
