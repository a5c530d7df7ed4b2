"""What is read of an MLflow store, whoever reads it: runs, experiments, and which runs to look for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from analysis.records.names import Tag

# The tags that a run must have, and their values; None: any value.
Tags = Mapping[str, str | None]


@dataclass(frozen=True)
class StoredRun:
    """A run of MLflow. Times are in milliseconds; end_time is 0 while it runs. metrics: the last value of each."""

    run_id: str
    status: str
    start_time: int
    end_time: int
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class LoggedValue:
    """A value of a metric. time: when it was logged, in milliseconds."""

    step: int
    value: float
    time: int


class StoreReader(Protocol):
    """A store, opened for reading."""

    def experiments(self) -> dict[str, str]:
        """Return the names of all active experiments by their ids."""
        ...

    def experiment_tags(self, experiment_id: str) -> dict[str, str]:
        """Return the tags of an experiment."""
        ...

    def experiment(self, name: str) -> tuple[str, bool] | None:
        """Return the id of the experiment of this name, and whether it is deleted; None if there is none."""
        ...

    def runs(self, experiment_ids: Sequence[str], tags: Tags, most: int | None = None) -> list[StoredRun]:
        """Return the active runs of these experiments that have these tags; the newest first, at most so many."""
        ...

    def tags(self, run_id: str) -> dict[str, str] | None:
        """Return a run's tags; None if there is no such run."""
        ...

    def histories(self, run_ids: Sequence[str], metric: str) -> dict[str, list[LoggedValue]]:
        """Return everything that was logged of a metric in each of these runs, by steps; empty where it was not."""
        ...

    def artifacts(self, run_id: str, folder: str) -> list[str]:
        """Return the paths of a run's artifacts in a folder."""
        ...

    def artifact(self, run_id: str, path: str) -> bytes:
        """Return the content of a run's artifact."""
        ...


def run_by_key(trials: Sequence[StoredRun]) -> dict[str, StoredRun]:
    """Return one run of each trial by the trial's key: a finished one, else the first.

    Machines that share a store but no disk can create two runs of one trial at the same moment.
    """
    first = sorted(trials, key=lambda run: (run.status != "FINISHED", run.start_time, run.run_id))
    return {run.tags[Tag.TRIAL_KEY]: run for run in reversed(first)}
