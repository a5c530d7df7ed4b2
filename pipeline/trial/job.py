"""What a trial is given, what it reports, and how it ended: all that passes between processes."""

import json
from dataclasses import asdict, dataclass
from typing import Literal

from pipeline.config.schema import Config, from_json, to_json
from pipeline.hardware.share import Share

# done: to its end. stopped: by the search. failed: its record says why. memory: it ran out of it. died: without a word.
# taken: another process trains this trial.
Ending = Literal["done", "stopped", "failed", "memory", "died", "taken"]


@dataclass(frozen=True)
class TrialJob:
    """All that a trial needs to run anywhere: its settings, its record, and where data, checkpoint and cache lie.

    Paths are absolute, since a worker's folder is not the user's. final_statuses: if another process has brought the
    run to one of these statuses of MLflow, the trial is not trained.
    """

    config: Config
    key: str
    run_id: str
    data_folder: str
    checkpoint: str
    cache: str
    tracking_uri: str
    share: Share
    final_statuses: tuple[str, ...] = ("FINISHED",)


@dataclass(frozen=True)
class Progress:
    """Where a trial stands: steps done of all, the first one of this process, seconds a step and since the start,
    whole epochs, the last score of its metric and whether it is new, and memory so far."""

    step: int
    steps: int
    first_step: int
    seconds_per_step: float
    seconds: float
    epoch: int
    score: float | None
    scored_now: bool
    peak_live_gb: float | None


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, and why where it did not reach its end."""

    ending: Ending
    reason: str = ""


@dataclass(frozen=True)
class Rungs:
    """When a search halves its trials: from which epoch on, by which factor, up to which epoch; and the scores
    (epoch, score) of earlier trials by key, which those of this run are compared to as well."""

    first_epoch: int
    reduction: int
    epochs: int
    earlier: dict[str, list[tuple[int, float]]]


def job_to_json(job: TrialJob) -> str:
    """The job as a text: Ray Tune evaluates and expands what it finds inside of dicts."""
    return json.dumps({**asdict(job), "config": to_json(job.config)})


def job_from_json(text: str) -> TrialJob:
    """What `job_to_json` wrote."""
    job = json.loads(text)
    job |= {"config": from_json(job["config"]), "share": Share(**job["share"])}
    return TrialJob(**{**job, "final_statuses": tuple(job["final_statuses"])})
