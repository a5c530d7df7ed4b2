"""What is left to run after a round of trials."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipeline.hardware.allocation import _part
from pipeline.hardware.device import Machine
from pipeline.trial.job import Outcome, TrialJob


def retried(job: TrialJob, machine: Machine) -> TrialJob | None:
    """The job with twice the memory, up to a whole device; None where it had the whole already."""
    share = job.share
    if share.on_one_device <= 1:
        return None
    fewer = share.on_one_device // 2
    # Its own failure must not keep it from being tried again.
    over = tuple(status for status in job.over if status != "FAILED")
    gpus, slots = (0.0, fewer) if machine.device == "cpu" else (_part(fewer), machine.gpus * fewer)
    more = replace(share, gpus=gpus, memory_gb=machine.memory_gb / fewer, slots=slots)
    return replace(job, share=more, over=over)


def next_round(
    jobs: Sequence[TrialJob], outcomes: Mapping[str, Outcome], machine: Machine
) -> tuple[list[TrialJob], list[TrialJob]]:
    """What is left after a round: jobs that ran out of memory, with more of it; and those that others were training."""
    again = [retried(job, machine) for job in jobs if outcomes[job.key].ending == "memory"]
    taken = [job for job in jobs if outcomes[job.key].ending == "taken"]
    return [job for job in again if job], taken
