"""The only writer of MLflow, beside `TrialRun` for the time that a trial trains.

An experiment is a task. A run is a trial, which is found again by its key; an evaluation outside of training; or a
sweep, which holds the list of its trials. `analysis.records.names` has the names of all tags and metrics.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from filelock import BaseFileLock

from analysis.records.address import without_password
from analysis.records.names import IS_SWEEP, IS_TRIAL, NOTE, PROGRESS_STEP, Tag, eval_metric
from analysis.records.schema import MANIFEST_FILE, Manifest, RecordsError
from analysis.store.database import SQLITE, database_file, is_missing
from analysis.store.open_store import open_store
from analysis.store.stored_runs import StoredRun, StoreReader, Tags, run_by_key
from pipeline.errors import UserError
from pipeline.locks import file_lock
from pipeline.tracking.lease import uses_leases
from pipeline.tracking.outage import ask_through_outage, store_error

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.tracking.store_client import StoreClient

# Enough for a median, and the latest trials are of the present code.
MOST_SAME_COST = 20
# MLflow accepts tags of 5000 characters. A reason is shown in one line.
TAG_LENGTH = 500
NOTE_LENGTH = 5000


@dataclass(frozen=True)
class TrialRecord:
    """What MLflow knows of a trial: its run, MLflow's status of it, the last logged step, last values and tags."""

    run_id: str
    status: str
    step: int
    metrics: Mapping[str, float]
    tags: Mapping[str, str]

    @property
    def error(self) -> str:
        """Why the trial failed; '' if it did not."""
        return self.tags.get(Tag.ERROR, "")


def key_of_run(uri: str, run_id: str) -> str | None:
    """Return the key of a run's trial; None if there is no such run, or it is not a trial's.

    Raises UserError if the store does not answer.
    """
    if is_missing(uri):
        return None
    tags = cast(StoreReader, _Asked(uri, open_store)).tags(run_id)
    return tags.get(Tag.TRIAL_KEY) if tags else None


def store_lock(uri: str, trials: Path) -> BaseFileLock:
    """Return a store's lock among this machine's processes: beside a SQLite file, else in the folder of trials."""
    file = database_file(uri)
    return file_lock(Path(f"{file}.lock") if file else trials / "store.lock", reentrant=True)


class _Asked:
    """A store that is opened with `opener`. Faults of MLflow, of the database and of the network become UserError.

    outage: for how many seconds to ask again while the store does not answer, and whom to tell. calls: how many so far.
    """

    def __init__(self, uri: str, opener: Callable[[str], object]) -> None:
        self.outage: tuple[float, Callable[[float], None]] = (0.0, lambda seconds: None)
        self._uri, self.calls = uri, 0
        self._asked = self._call(opener, uri)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(self._call, getattr(self._asked, name))

    def _call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        try:
            return ask_through_outage(partial(function, *arguments, **options), *self.outage)
        except UserError:
            raise
        except RecordsError as error:
            raise UserError(str(error).rstrip(".")) from None
        except Exception as error:
            raise store_error(self._uri, error) from None


class Tracker:
    """One experiment of one store. Reading creates nothing. The first write creates the database and the experiment.

    A process holds `lock` while it creates the database, the experiment or a run.
    """

    def __init__(self, uri: str, experiment: str, artifact_root: str, lock: BaseFileLock) -> None:
        self.uri, self.experiment, self.artifact_root, self.lock = uri, experiment, artifact_root, lock

    @cached_property
    def client(self) -> "StoreClient":
        """What writes. It is opened by the first write."""
        from pipeline.tracking.store_client import open_client  # MLflow, which takes seconds to import

        with self.lock:  # a client creates a SQLite database that does not exist yet
            return cast("StoreClient", _Asked(self.uri, open_client))

    @cached_property
    def reader(self) -> StoreReader:
        """What reads a store that exists."""
        return cast(StoreReader, _Asked(self.uri, open_store))

    @cached_property
    def experiment_id(self) -> str:
        """The experiment, which is created if it does not exist yet."""
        with self.lock:
            # A server has its own path for artefacts. A database needs one.
            location = f"{self.artifact_root}/{self.experiment}" if self.uri.startswith("sqlite:") else None
            if found := self._existing_experiment():
                return found
            try:
                return self.client.create_experiment(self.experiment, location)
            except UserError:
                # On another machine, a sweep may have created it meanwhile.
                if found := self._existing_experiment():
                    return found
                raise

    @property
    def calls(self) -> int:
        """How often this process has asked the store so far."""
        return sum(cast(_Asked, asked).calls for name, asked in vars(self).items() if name in ("client", "reader"))

    def _existing_experiment(self) -> str | None:
        if is_missing(self.uri):
            return None
        found, deleted = self.reader.experiment(self.experiment) or (None, False)
        if deleted:
            raise UserError(
                f"tracking.uri={without_password(self.uri)}: experiment {self.experiment!r} is deleted. Restore it in "
                "MLflow, or set another data.name."
            )
        return found

    def require_answer(self) -> None:
        """Raise UserError if a server does not answer or refuses this client. SQLite files are read when needed."""
        if not self.uri.startswith(SQLITE):
            self.reader  # noqa: B018 (opened by its first use)

    def ask_through_outages(self, most_seconds: float, silent: Callable[[float], None]) -> None:
        """From now on, ask again for so long while the store does not answer. silent: see `ask_through_outage`."""
        for asked in (self.client, self.reader):
            cast(_Asked, asked).outage = (most_seconds, silent)

    def find_trials(self) -> dict[str, TrialRecord]:
        """Return every trial of the experiment by its key; none if there is no store yet."""
        return {key: _record(run) for key, run in run_by_key(self._runs(IS_TRIAL)).items()}

    def find_trials_of_same_cost(self, work: str) -> list[TrialRecord]:
        """Return the latest trials, of all tasks, with steps of the same cost (`StepCost.work`)."""
        if is_missing(self.uri):
            return []
        same = {**IS_TRIAL, Tag.WORK: work}
        return [_record(run) for run in self.reader.runs(list(self.reader.experiments()), same, MOST_SAME_COST)]

    def score_histories(self, run_ids: Sequence[str], score: str) -> dict[str, list[tuple[int, float]]]:
        """Return (step, value) of every evaluation of each of these runs."""
        found = self.reader.histories(run_ids, eval_metric(score)) if run_ids else {}
        return {run_id: [(logged.step, logged.value) for logged in history] for run_id, history in found.items()}

    def begin_trial(
        self,
        key: str,
        name: str,
        of_sweep: Mapping[str, str],
        settings: Mapping[str, object],
        made_with: Mapping[str, str],
    ) -> str:
        """Return the id of the run of a trial that starts, with tags of its sweep. A trial that has none gets one.

        settings: as parameters. made_with: further tags. A run that another sweep has finished meanwhile gets neither.
        """
        with self.lock:
            found = self._find_trial(key)
            run_id = found.run_id if found else self.create_trial(key, name, of_sweep)
        if found and found.status == "FINISHED":
            self.log_settings(run_id, {}, of_sweep)
        else:
            # MLflow never changes a parameter, and those of the key are the same in every run of that key.
            self.log_settings(run_id, settings, {**of_sweep, **made_with} if found else made_with)
        return run_id

    def create_trial(self, key: str, name: str, tags: Mapping[str, str] | None = None) -> str:
        """Create a scheduled run for a trial that has none. Return its id. The caller holds the lock.

        If another run of the trial exists by then, created on a machine without a common disk, return that run's id.
        """
        identity = {Tag.KIND: "trial", Tag.TRIAL_KEY: key}
        created = self.client.create_run(self.experiment_id, run_name=name, tags={**(tags or {}), **identity})
        run_id = created.info.run_id
        self.client.update_run(run_id, status="SCHEDULED")
        if not uses_leases(self.uri):
            return run_id
        chosen = self._find_trial(key)
        if chosen is None or chosen.run_id == run_id:
            return run_id
        self.client.delete_run(run_id)
        self.log_settings(chosen.run_id, {}, tags or {})
        return chosen.run_id

    def _find_trial(self, key: str) -> StoredRun | None:
        return run_by_key(self.reader.runs([self.experiment_id], {**IS_TRIAL, Tag.TRIAL_KEY: key})).get(key)

    def log_settings(self, run_id: str, settings: Mapping[str, object], tags: Mapping[str, str]) -> None:
        """Log a trial's settings as parameters, and tags. A second call with the same values changes nothing."""
        self.client.log(run_id, params=settings, tags=tags)

    def tag_trial(self, run_id: str, tags: Mapping[str, object]) -> None:
        """Set tags of a trial's run."""
        self.client.log(run_id, tags=cut_tags(tags))

    def end_trial(self, run_id: str, status: Literal["FAILED", "KILLED"], tags: Mapping[str, str]) -> None:
        """End the run of a trial that died or was stopped by a search. A run that has ended is not changed."""
        if self.client.get_run(run_id).info.status not in ("RUNNING", "SCHEDULED"):
            return
        self.client.log(run_id, tags=cut_tags(tags))
        self.client.set_terminated(run_id, status)

    def delete_trial(self, run_id: str) -> None:
        """Delete a trial's run. MLflow can restore it until its garbage collection."""
        self.client.delete_run(run_id)

    def record_evaluation(
        self, name: str, scores: Mapping[str, float], made_with: Mapping[str, object], grid: "NDArray[np.uint8]"
    ) -> str:
        """Record an evaluation outside of training as a run. Return its id."""
        run = self.client.create_run(self.experiment_id, run_name=name, tags={Tag.KIND: "evaluation"})
        metrics = {eval_metric(score): value for score, value in scores.items()}
        self.client.log(run.info.run_id, metrics=metrics, tags=cut_tags(made_with))
        self.client.log_scores(run.info.run_id, 0, scores, made_with, grid)
        self.client.set_terminated(run.info.run_id, "FINISHED")
        return run.info.run_id

    def record_sweep(self, manifest: Manifest) -> None:
        """Record what a sweep consists of, unless the newest record has the same trials."""
        newest, digest = self._newest_sweep(manifest.sweep), manifest.digest()
        if newest is not None and newest.tags.get(Tag.MANIFEST) == digest:
            return
        tags = {Tag.KIND: "recording", Tag.SWEEP: manifest.sweep, Tag.RESULT_VERSION: manifest.result_version}
        # The newest record has the latest start, also after the clock was set back.
        start = max(int(time.time() * 1000), newest.start_time + 1 if newest else 0)
        run = self.client.create_run(self.experiment_id, start, tags, run_name=f"sweep {manifest.sweep}")
        self.client.log_dict(run.info.run_id, manifest.to_dict(), MANIFEST_FILE)
        # Last, so that every run of this kind has its manifest.
        self.client.log(run.info.run_id, tags={Tag.MANIFEST: digest, Tag.KIND: "sweep"})
        self.client.set_terminated(run.info.run_id, "FINISHED")

    def attach_results(self, name: str, folder: Path, description: str, views: Mapping[str, str]) -> None:
        """Store a sweep's tables, figures and report with its manifest. The UI shows the description above them.

        views: saved views of the UI, by their tags.
        """
        newest = self._newest_sweep(name)
        assert newest is not None, "results are attached to a recorded sweep"
        self.client.log_artifacts(newest.run_id, str(folder), "results")
        self.client.set_tag(newest.run_id, NOTE, description[:NOTE_LENGTH])
        for tag, view in views.items():
            self.client.set_experiment_tag(self.experiment_id, tag, view)

    def _newest_sweep(self, name: str) -> StoredRun | None:
        return max(self._runs({**IS_SWEEP, Tag.SWEEP: name}), key=lambda run: run.start_time, default=None)

    def _runs(self, tags: Tags) -> list[StoredRun]:
        experiment = self._existing_experiment()
        return self.reader.runs([experiment], tags) if experiment else []


def cut_tags(tags: Mapping[str, object]) -> dict[str, str]:
    """Return tags whose values are cut to `TAG_LENGTH`."""
    return {name: str(value)[:TAG_LENGTH] for name, value in tags.items()}


def _record(run: StoredRun) -> TrialRecord:
    step = int(run.metrics.get(PROGRESS_STEP, 0))
    return TrialRecord(run.run_id, run.status, step, run.metrics, run.tags)
