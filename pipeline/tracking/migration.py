"""Copy a store into another one, through MLflow's client: any store into any other. A second copy doubles nothing.

A run gets a new id, so a tag holds the id of the run that it was copied from. Its kind is written last: until a run is
whole, no reader takes it for a trial or a sweep. Deleted experiments and runs are left out.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from analysis.records.address import without_password
from analysis.records.names import RUN_NAME, Tag
from analysis.records.printable import printable
from analysis.records.progress import tracked
from analysis.store.stored_runs import StoredRun
from pipeline.errors import UserError
from pipeline.tracking.store import Tracker, store_lock

# The tags that MLflow turns into fields of a run, which no later call sets.
OF_MLFLOW = "mlflow."
OF_COPY = (Tag.COPIED_FROM, Tag.COPIED_STATE)
# MLflow's limits are 1000 metrics and 100 tags or parameters a call.
METRICS_AT_ONCE, TAGS_AT_ONCE = 500, 100
# A server that is started anew is there again in seconds.
OUTAGE_SECONDS = 60.0
ENDED = ("FINISHED", "FAILED", "KILLED")

Item = TypeVar("Item")


@dataclass(frozen=True)
class Copied:
    """Of one experiment: its name, how many runs were copied now, and how many had been copied before."""

    experiment: str
    new: int
    before: int


def copy_store(source: str, target: str, trials: Path) -> Iterator[Copied]:
    """Copy every experiment, show how far it is, and yield what was done of each.

    trials: the folder of trials, where the locks of stores without a file are.
    """
    if source == target:
        raise UserError(f"{without_password(source)} cannot be copied into itself")
    experiments = _tracker(source, "", trials).reader.experiments()
    for experiment_id, name in experiments.items():
        copy = _ExperimentCopy(_tracker(source, name, trials), _tracker(target, name, trials), experiment_id)
        yield copy.make()


def _tracker(uri: str, experiment: str, trials: Path) -> Tracker:
    # Beside a SQLite file, as a sweep has them; a server has its own place.
    files = Path("mlartifacts").absolute().as_uri()
    return Tracker(uri, experiment, files, store_lock(uri, trials))


class _ExperimentCopy:
    """One experiment on its way from one store to another."""

    def __init__(self, source: Tracker, target: Tracker, experiment_id: str) -> None:
        self._source, self._target, self._experiment_id = source, target, experiment_id

    def make(self) -> Copied:
        name, runs, before = self._target.experiment, self._source.reader.runs([self._experiment_id], {}), 0
        there = self._target.reader.runs([self._target.experiment_id], {})
        self._target.ask_through_outages(OUTAGE_SECONDS, lambda seconds: None)
        # A run that came from the target and goes back to it is the run that it was.
        copies = {run.run_id: run for run in there} | {run.tags.get(Tag.COPIED_FROM, run.run_id): run for run in there}
        # The oldest first, as they were made.
        for run in tracked(reversed(runs), len(runs), f"{printable(name)}: runs copied"):
            copy, state = copies.get(run.run_id) or copies.get(run.tags.get(Tag.COPIED_FROM, "")), _state(run)
            if copy and copy.tags.get(Tag.COPIED_STATE) == state:
                before += 1
            else:
                self._copy_run(run, copy.run_id if copy else self._create(run), state)
        self._copy_views()
        return Copied(name, len(runs) - before, before)

    def _create(self, run: StoredRun) -> str:
        tags = {name: value for name, value in run.tags.items() if name.startswith(OF_MLFLOW)}
        created = self._target.client.create_run(
            self._target.experiment_id,
            run.start_time,
            {**tags, Tag.COPIED_FROM: run.run_id},
            run_name=run.tags.get(RUN_NAME),
        )
        return created.info.run_id

    def _copy_run(self, run: StoredRun, copied_to: str, state: str) -> None:
        """Copy all of a run. Called again, it logs the same values, which MLflow keeps once."""
        client = self._target.client
        for params in _parts(run.params.items(), TAGS_AT_ONCE):
            client.log(copied_to, params=dict(params))
        for values in _parts(self._values(run), METRICS_AT_ONCE):
            client.log_values(copied_to, values)
        self._copy_files(run.run_id, copied_to)
        if run.status in ENDED:
            client.set_terminated(copied_to, run.status, run.end_time or run.start_time)
        else:
            client.update_run(copied_to, run.status)
        others = {name: value for name, value in run.tags.items() if name not in (Tag.KIND, *OF_COPY)}
        for tags in _parts(others.items(), TAGS_AT_ONCE):
            client.log(copied_to, tags=dict(tags))
        kind = {name: run.tags[name] for name in (Tag.KIND,) if name in run.tags}
        client.log(copied_to, tags={**kind, Tag.COPIED_STATE: state})

    def _values(self, run: StoredRun) -> Iterator[Mapping[str, Any]]:
        """Return every value that was logged of every metric."""
        for name in run.metrics:
            for logged in self._source.reader.histories([run.run_id], name)[run.run_id]:
                yield {"key": name, "value": logged.value, "timestamp": logged.time, "step": logged.step}

    def _copy_files(self, run_id: str, copied_to: str) -> None:
        if not self._source.client.list_artifacts(run_id):
            return
        with TemporaryDirectory() as folder:
            self._source.client.download_artifacts(run_id, "", folder)
            self._target.client.log_artifacts(copied_to, folder)

    def _copy_views(self) -> None:
        """Copy the tags of the experiment, such as saved views. The target's own stay."""
        present = self._target.reader.experiment_tags(self._target.experiment_id)
        for name, value in self._source.reader.experiment_tags(self._experiment_id).items():
            if name not in present:
                self._target.client.set_experiment_tag(self._target.experiment_id, name, value)


def _state(run: StoredRun) -> str:
    """Return a hash of a run, which changes with whatever is logged."""
    metrics = {name: repr(value) for name, value in run.metrics.items()}
    tags = {name: value for name, value in run.tags.items() if name not in OF_COPY}
    content = [run.status, run.end_time, metrics, dict(run.params), tags]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _parts(items: Any, size: int) -> Iterator[list[Any]]:
    """Yield the items in lists of at most this size."""
    left = iter(items)
    while part := list(islice(left, size)):
        yield part
