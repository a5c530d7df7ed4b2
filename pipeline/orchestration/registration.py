"""Record a planned sweep: what tables need to know of it, and a run for every trial as it starts."""

import json
import subprocess
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from analysis.records.names import RUN_NAME, SINGLE, Tag, member_tag, row_tag, settings_tag
from analysis.records.schema import Manifest, SweepRecord, SweepRow
from analysis.store.reader import trial_line
from models.configs.cut import CUTConfig
from pipeline.config.places import stored_trial
from pipeline.config.schema import Config
from pipeline.config.sweep_file import SWEEPS, Row
from pipeline.config.trial_key import RESULT_VERSION, can_change_results, keyed_fields, leaves
from pipeline.hardware.share import Share
from pipeline.orchestration.planner import Plan, PlannedTrial, Records, checkpoint_path
from pipeline.orchestration.requirements import Requirement
from pipeline.tracking.store import TrialRecord
from pipeline.trial.job import TrialJob


class Registration:
    """A plan that is recorded: the sweep and its manifest at once, the run of each trial when the trial starts.

    jobs: of the trials that are left to train. They have no run yet (`run_id` is empty).
    """

    def __init__(
        self, plan: Plan, requirements: Sequence[Requirement] = (), *, retry_failed: bool = False, code: str = ""
    ) -> None:
        """Record the sweep, and which trials belong to it of those that have a run already.

        requirements: from `estimate_requirements`; not needed if nothing is left to train. code: the hash of the code
        that a cluster runs.
        """
        assert plan.data is not None, "a plan without data is only printed"
        self._plan = plan
        self._provenance = {
            Tag.DATA_FINGERPRINT: plan.data.fingerprint,
            Tag.COMMIT: _commit(),
            Tag.RESULT_VERSION: str(RESULT_VERSION),
            **({Tag.CODE: code} if code else {}),
            **({Tag.LEFT_OUT: str(len(plan.data.left_out))} if plan.data.left_out else {}),
        }
        self._settings = {row.row: json.dumps(row.set) for row in plan.sweep.rows}
        left = plan.to_train(retry_failed=retry_failed)
        self._left = {planned.key: planned for planned in left}
        self._work = {
            planned.key: requirement.cost.work for planned, requirement in zip(plan.trials, requirements, strict=False)
        }
        shares = {planned.key: found.share for planned, found in zip(plan.trials, requirements, strict=False)}
        final = plan.final_statuses if retry_failed else (*plan.final_statuses, "FAILED")
        self.jobs = [self._job(planned, shares[planned.key], final) for planned in left]
        with plan.tracker.lock:
            # Read again, since another sweep may have started meanwhile.
            known = {planned.key: planned.record for planned in plan.trials if planned.record}
            records = plan.tracker.find_trials() if left else known
            self._taken = {record.tags.get(RUN_NAME, "") for record in records.values()}
            plan.tracker.record_sweep(make_manifest(plan))
            self._tag(records)

    def run_of(self, job: TrialJob) -> str:
        """Return the id of the run of a job that is about to start. If the trial has none, it is created.

        Of several sweeps that ask at once only one creates it.
        """
        planned = self._left[job.key]
        name = run_name(planned, alone=self._plan.sweep.name == SINGLE, taken=self._taken)
        made_with = {**self._provenance, Tag.WORK: self._work[job.key]}
        settings = keyed_fields(planned.trial.config)
        return self._plan.tracker.begin_trial(job.key, name, self._row_tags(planned), settings, made_with)

    def _job(self, planned: PlannedTrial, share: Share, final_statuses: tuple[str, ...]) -> TrialJob:
        config, data = planned.trial.config, self._plan.data
        assert data is not None, "a plan without data is only printed"
        return TrialJob(
            # Later evaluations must use as many threads as the training.
            replace(config, compute=replace(config.compute, cpus_per_trial=share.cpus)),
            planned.key,
            run_id="",
            data_folder=str(data.folder.absolute()),
            checkpoint=str(checkpoint_path(config, planned.key)),
            cache=str(Path(config.paths.cache).absolute()),
            tracking_uri=self._plan.tracker.uri,
            share=share,
            final_statuses=final_statuses,
            stored=stored_trial(config.paths, planned.key),
        )

    def _tag(self, records: Records) -> None:
        """Say in the runs that exist which trials the sweep has now, and which it has no longer."""
        tracker, member = self._plan.tracker, member_tag(self._plan.sweep.name)
        for record in self._plan.former:
            if record.tags.get(member) != "no":
                tracker.tag_trial(record.run_id, {member: "no"})
        for planned in self._plan.trials:
            if record := records.get(planned.key):
                tags = self._row_tags(planned)
                if planned.key in self._left and record.tags.get(Tag.STOP_REQUESTED):
                    tags |= {Tag.STOP_REQUESTED: ""}
                if not tags.items() <= record.tags.items():
                    tracker.log_settings(record.run_id, {}, tags)

    def _row_tags(self, planned: PlannedTrial) -> dict[str, str]:
        sweep, row = self._plan.sweep.name, planned.trial.row
        return {row_tag(sweep): row, settings_tag(sweep): self._settings[row], member_tag(sweep): "yes"}


def register_trials(
    plan: Plan, requirements: Sequence[Requirement] = (), *, retry_failed: bool = False
) -> list[TrialJob]:
    """Record the sweep, and return a job with its run for each trial that is left to train. See `Registration`."""
    registration = Registration(plan, requirements, retry_failed=retry_failed)
    return [replace(job, run_id=registration.run_of(job)) for job in registration.jobs]


class RunsAhead:
    """Asks for the runs of jobs in a thread, a few jobs ahead, so that Ray waits neither for the store nor an outage.

    run_of: returns the id of a job's run.
    """

    def __init__(self, run_of: Callable[[TrialJob], str]) -> None:
        self._run_of = run_of
        self._asked: dict[str, Future[str]] = {}
        self._left: SimpleQueue[tuple[TrialJob, Future[str]]] = SimpleQueue()
        # A daemon: a command that ends in an outage does not wait for the store.
        threading.Thread(target=self._work, daemon=True).start()

    def ask(self, jobs: Iterable[TrialJob]) -> None:
        """Ask for the runs of jobs that may start soon. Each is asked for once."""
        for job in jobs:
            if job.key not in self._asked:
                self._asked[job.key] = Future()
                if job.run_id:
                    self._asked[job.key].set_result(job.run_id)
                else:
                    self._left.put((job, self._asked[job.key]))

    def find(self, job: TrialJob) -> str | None:
        """Return the run's id; None while it is not known. Raises the error of the store."""
        self.ask([job])
        asked = self._asked[job.key]
        return asked.result() if asked.done() else None

    def _work(self) -> None:
        while True:
            job, asked = self._left.get()
            try:
                asked.set_result(self._run_of(job))
            except Exception as error:  # raised where the run is asked for
                asked.set_exception(error)


def run_name(planned: PlannedTrial, *, alone: bool, taken: Collection[str]) -> str:
    """Return the name of a trial's run: its row (alone: its method) and seed, and its key if the name is taken.

    The same row of other settings, or of another sweep, has the same name.
    """
    of = planned.trial.config.model.method if alone else planned.trial.row
    name = f"{of}, seed {planned.trial.seed}"
    return f"{name}, {planned.key[:8]}" if name in taken else name


def make_manifest(plan: Plan) -> Manifest:
    """Return what tables need to know of a sweep."""
    keys: dict[str, dict[int, str]] = {row.row: {} for row in plan.sweep.rows}
    for planned in plan.trials:
        keys[planned.trial.row][planned.trial.seed] = planned.key
    axes = tuple(dict.fromkeys(name for row in plan.sweep.rows for name in row.set))
    configs = {planned.trial.row: planned.trial.config for planned in reversed(plan.trials)}
    return Manifest(
        sweep=plan.sweep.name,
        question=plan.sweep.question,
        task=plan.task,
        default=plan.sweep.default or plan.sweep.rows[0].row,
        result_version=str(RESULT_VERSION),
        rows=tuple(
            SweepRow(row.row, row.paper, keys[row.row], _settings(plan, row, configs[row.row], axes))
            for row in plan.sweep.rows
        ),
        axes=axes,
        base=tuple(plan.sweep.base),
        overrides=tuple(text for text in plan.overrides if can_change_results(text)),
        price_per_hour=plan.config.compute.price_per_hour,
        command=tuple(plan.overrides),
        file=plan.sweep.name if Path(plan.sweep.place).parent == SWEEPS else plan.sweep.place,
    )


def recorded_so_far(plan: Plan) -> SweepRecord:
    """Return what is recorded of the plan's trials, whichever sweeps trained them."""
    import pandas as pd  # half a second; `just plan` needs it only with results

    lines = [
        {"row": planned.trial.row, "seed": planned.trial.seed, "key": planned.key, **_line(planned.record)}
        for planned in plan.trials
    ]
    return SweepRecord(**vars(make_manifest(plan)), runs=pd.DataFrame(lines).set_index(["row", "seed"]))


def _line(record: TrialRecord | None) -> dict[str, Any]:
    if record is None:
        return trial_line("", "MISSING", {}, {})
    return trial_line(record.run_id, record.status, record.metrics, record.tags)


def _settings(plan: Plan, row: Row, config: Config, axes: Sequence[str]) -> dict[str, Any]:
    """Return a row's settings: fields that any row sets, all fields of the model, and the chosen option of a group."""
    fields = dict(leaves(asdict(config)))
    shared = dict(text.split("=", 1) for text in (*plan.sweep.base, *plan.overrides) if "=" in text)
    # The default model.
    shared.setdefault("model", "cut")
    chosen = {name: row.set.get(name, shared.get(name)) for name in axes if name not in fields}
    asked = {name: value for name, value in fields.items() if name in axes or name.startswith("model.")}
    unchosen = config.model.unchosen if isinstance(config.model, CUTConfig) else set[str]()
    # Settings of choices that a row does not make are no settings of it.
    kept = {name: value for name, value in asked.items() if name.removeprefix("model.").split(".")[0] not in unchosen}
    return {**chosen, **kept}


def _commit() -> str:
    """Return the commit of the code, with '+' if files differ from it; 'unknown' outside a repository."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],  # noqa: S607 (the user's own git)
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "unknown"
