"""Which job runs next, and where: new ones, and those that run again, with more memory or after a loss."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from pipeline.cluster.placement import Places
from pipeline.hardware.allocation import part_of_gpu
from pipeline.hardware.device import Machine
from pipeline.hardware.share import Share
from pipeline.trial.job import Outcome, Progress, TrialJob

# Of one trial, without a newer checkpoint in between.
MOST_LOSSES = 3


class JobQueue:
    """Jobs that wait or run. A job that ran out of memory runs again with more; a lost one from its checkpoint.

    places: the nodes of a cluster; None for this machine alone, where Ray divides the machine. lost: how often each
    trial was lost, by key. A loss says nothing about the trial, so it runs again, but at most `MOST_LOSSES` times
    without a newer checkpoint.
    """

    def __init__(self, jobs: Sequence[TrialJob], machine: Machine, places: Places | None = None) -> None:
        self.jobs: dict[str, TrialJob] = {}
        self.lost: Counter[str] = Counter()
        self.lost_nodes: set[str] = set()
        self._machine, self._places = machine, places
        self._waiting: deque[TrialJob] = deque()
        self._running: dict[str, TrialJob] = {}
        # Where each trial that was lost had begun, and how often it was lost since it began there.
        self._losses_since: dict[str, tuple[int, int]] = {}
        self.add(jobs)

    def add(self, jobs: Sequence[TrialJob]) -> None:
        """Let further jobs wait."""
        self.jobs |= {job.key: job for job in jobs}
        self._waiting += jobs

    def first(self, most: int) -> list[TrialJob]:
        """Return the first jobs that wait."""
        return list(islice(self._waiting, most))

    @property
    def empty(self) -> bool:
        """Whether no job waits."""
        return not self._waiting

    @property
    def finished(self) -> bool:
        """Whether no job waits or runs. One that runs may have to run again."""
        return self.empty and not self._running

    def next(self) -> TrialJob | None:
        """Return the next job; None if no job waits now, or no node has room for one."""
        for number, job in enumerate(self._waiting):
            placed = self._places.place(job) if self._places else job
            if placed:
                del self._waiting[number]
                self._running[job.key] = replace(placed, lost_nodes=tuple(sorted(self.lost_nodes)))
                return self._running[job.key]
        return None

    def running(self, key: str) -> TrialJob | None:
        """Return a job as it runs now: with its node, and its share there."""
        return self._running.get(key)

    def end(self, key: str, outcome: Outcome, progress: Progress | None = None) -> bool:
        """A job has ended. Return whether it will run again. progress: its last report; None if it made no step."""
        ran, job = self._running.pop(key, self.jobs[key]), self.jobs[key]
        node = self._places.leave(key) if self._places else None
        again = None
        if outcome.ending == "memory":
            if self._places:
                again = without_failure(job) if self._places.needs_more(key, ran.share.memory_gb) else None
            else:
                again = retried(ran, self._machine)
        # On a cluster, a node that will end asks its trials to save; they go on elsewhere.
        elif outcome.ending == "lost" or (node and outcome.ending == "interrupted"):
            again = job if self._may_go_on(key, progress) else None
        elif node and self._places and outcome.ending == "failed" and progress is None:
            again = without_failure(job) if self._places.failed_at_once(key, node) else None
        if again:
            self.jobs[key] = again
            # First, so that its seeds stay early.
            self._waiting.appendleft(again)
        return again is not None

    def _may_go_on(self, key: str, progress: Progress | None) -> bool:
        at, losses = self._losses_since.get(key, (0, 0))
        began_at = progress.first_step if progress else at
        # Later than the last time: it had a newer checkpoint.
        losses = losses + 1 if began_at <= at else 1
        self._losses_since[key] = began_at, losses
        self.lost[key] += 1
        return losses <= MOST_LOSSES


def retried(job: TrialJob, machine: Machine) -> TrialJob | None:
    """Return the job with twice the memory, up to a whole device; None if it had a whole device already."""
    share = larger(job.share, machine)
    return without_failure(replace(job, share=share)) if share else None


def larger(share: Share, machine: Machine) -> Share | None:
    """Return a share with twice the memory of the machine's device, up to a whole one; None if it is a whole one."""
    if share.on_one_device <= 1:
        return None
    fewer = share.on_one_device // 2
    gpus, slots = (0.0, fewer) if machine.device == "cpu" else (part_of_gpu(fewer), machine.gpus * fewer)
    memory_gb = machine.memory_gb / fewer / share.processes
    return replace(share, gpus=gpus, memory_gb=memory_gb, slots=slots)


def without_failure(job: TrialJob) -> TrialJob:
    """Return a job that trains although it has failed: its own failure must not prevent its retry."""
    return replace(job, final_statuses=tuple(status for status in job.final_statuses if status != "FAILED"))
