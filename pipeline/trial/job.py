"""The messages between processes: a trial's job, its progress, and how it ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.config.schema import Config
from pipeline.hardware.share import Share

# done; stopped: early, by the search; failed: see the MLflow run; memory: out of memory; lost: its process, worker or
# node ended; interrupted: saved by request of the sweep, which ends; requested: saved or skipped by request of `just
# stop`; taken: another process trains this trial.
Ending = Literal["done", "stopped", "failed", "memory", "lost", "interrupted", "requested", "taken"]


@dataclass(frozen=True)
class TrialJob:
    """All that a trial needs to run anywhere: its configuration, its MLflow run, and paths.

    Paths are absolute, because a worker has another working folder than the user. final_statuses: if another process
    has brought the MLflow run to one of these statuses, the trial is not trained. stored: the address that keeps a copy
    of the trial's folder, '' for none; the trial then works on its node's own disk (`pipeline.trial.here`). node, host:
    Ray's id of the node of a cluster that runs it, and its address; '' outside of a cluster. lost_nodes: ids of nodes
    that have ended, so that they train nothing any more.
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
    stored: str = ""
    node: str = ""
    host: str = ""
    lost_nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """How far a trial is.

    step, steps: done, and in all. first_step: where this process began. seconds: since this process began. epoch:
    finished epochs, of `epochs`. losses: the latest means, by name. score: the latest of the trial's metric.
    scored_now: whether it is of this step. peak_live_gb: peak of live tensors in training (10^9 bytes), once it is
    known. store_silent_seconds: for how long the tracking store has not answered.
    """

    step: int
    steps: int
    first_step: int
    seconds_per_step: float
    seconds: float
    epoch: int
    score: float | None
    scored_now: bool
    peak_live_gb: float | None
    store_silent_seconds: float = 0.0
    epochs: int = 0
    losses: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, and the reason if it is not done."""

    ending: Ending
    reason: str = ""


@dataclass(frozen=True)
class Rungs:
    """When a search stops trials early (successive halving).

    first_epoch, epochs: of the first and the last comparison. reduction: the factor by which trials get fewer. earlier:
    scores (epoch, score) of earlier trials by key; new trials are compared to them too.
    """

    first_epoch: int
    reduction: int
    epochs: int
    earlier: dict[str, list[tuple[int, float]]]
