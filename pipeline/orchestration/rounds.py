"""A sweep while it trains: jobs in rounds, a search's samples, tables kept fresh."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

from analysis.records.names import Tag
from analysis.records.schema import RecordsError
from analysis.tables.write import write_tables
from pipeline.config.search_space import Search
from pipeline.config.sweep_file import sampled_row
from pipeline.errors import UserError
from pipeline.metrics.names import metric_names
from pipeline.orchestration.live_table import Line, LiveView, open_log
from pipeline.orchestration.planner import Need, Plan, PlannedTrial, find_needs, plan_sweep, score_of
from pipeline.orchestration.ray_tune import Events, run_jobs
from pipeline.orchestration.registration import register
from pipeline.orchestration.retry import next_round
from pipeline.orchestration.sampler import next_sample
from pipeline.trial.job import Ending, Outcome, Rungs, TrialJob
from pipeline.trial.lock import is_claimed

LOOK_AGAIN_SECONDS = 2.0
# How often a sample is drawn anew that was drawn before or cannot be, before the search is taken to be exhausted.
DRAWS = 20


class Training:
    """A sweep while it trains: in rounds, since what ran out of memory is tried again with more of it, and what
    another process was training may be left unfinished by it."""

    def __init__(
        self, planned: Plan, needs: Sequence[Need], overrides: Sequence[str], console: Console, *, retry_failed: bool
    ) -> None:
        self.planned, self.overrides = planned, overrides
        jobs = register(planned, needs, retry_failed=retry_failed)
        # What others train comes last, and is mostly done by then.
        others = {found.key for found in planned.trials if found.state == "training"}
        self.jobs = {job.key: job for job in sorted(jobs, key=lambda job: job.key in others)}
        self.outcomes: dict[str, Outcome] = {}
        self.slots = max((job.share.slots for job in jobs), default=needs[0].share.slots)
        self.tables = _Tables(planned)
        self.view = self._open_view(needs, console)

    def run(self, nursery: str) -> None:
        """Train until nothing is left that can be trained now."""
        storage = Path(self.planned.config.paths.cache) / "ray" / str(os.getpid())
        events = Events(self.view.start, self.view.follow, self._end)
        source, count = self._first_round(), len(self.jobs) + self.planned.samples_to_draw
        try:
            with self.view:
                while count:
                    self.outcomes.clear()
                    run_jobs(source, count, self.slots, events, storage, nursery, rungs=_rungs(self.planned))
                    following = self._next_round()
                    source, count = iter(following), len(following)
        finally:
            self.tables.close()
            shutil.rmtree(storage, ignore_errors=True)  # what Tune keeps for a restore that is never made

    def _first_round(self) -> Iterator[TrialJob]:
        yield from list(self.jobs.values())
        search = self.planned.sweep.search
        while search and (drawn := self._draw(search)):
            yield from drawn

    def _draw(self, search: Search) -> list[TrialJob]:
        """The jobs of the next sample, from what the earlier ones have reached by now: planned, recorded, and in the
        view; and of those that another process has drawn meanwhile. None where enough are drawn, or none fits."""
        if not self.planned.samples_to_draw:
            return []
        with self.planned.tracker.lock:
            current = self.planned
            current = plan_sweep(current.sweep, self.overrides, data=current.data, machine=current.machine)
            if current.samples_to_draw:
                current = self._with_sample(current, search)
            needs = find_needs(current)
            jobs = register(current, needs)
        self.planned = current
        for found, need in zip(current.trials, needs, strict=True):
            self.view.lines.setdefault(found.key, _line(current, found, need, found.state))
        new = [job for job in jobs if job.key not in self.jobs]
        for job in new:
            self.jobs[job.key] = job
            self.view.lines[job.key].state = "waiting"
        return new

    def _with_sample(self, current: Plan, search: Search) -> Plan:
        records = current.tracker.find_trials()
        metric, _ = metric_names(current.config.metric.extractor)
        settings = {row.row: row.set for row in current.sweep.rows}
        told = [
            (settings[found.trial.row], score)
            for found in current.trials
            if (score := score_of(records.get(found.key), metric)) is not None
        ]
        number = search.samples - current.samples_to_draw
        for again in range(DRAWS):
            sampled = sampled_row(number, next_sample(search, told, number + again * search.samples))
            try:
                longer = current.sweep.with_row(sampled)
                return plan_sweep(longer, self.overrides, data=current.data, machine=current.machine)
            except UserError as error:  # drawn before, or nothing that this model can be
                self.view.log.info("%s was drawn and left: %s", sampled.set, error)
        return current

    def _end(self, key: str, outcome: Outcome) -> None:
        self.outcomes[key] = outcome
        self.view.end(key, outcome)
        run_id, at = self.jobs[key].run_id, self.view.lines[key].progress
        try:
            if outcome == Outcome("stopped"):
                why = f"by the search after epoch {at.epoch if at else 0}"
                self.planned.tracker.end_trial(run_id, "KILLED", {Tag.STOPPED: why})
            if outcome.ending in ("died", "failed", "memory"):
                # Mostly the trial has said so itself.
                self.planned.tracker.end_trial(run_id, "FAILED", {Tag.ERROR: outcome.reason})
        except UserError as error:
            self.view.log.info("%s: %s", key, error)
        self.tables.refresh()

    def _next_round(self) -> list[TrialJob]:
        again, taken = next_round([self.jobs[key] for key in self.outcomes], self.outcomes, self.planned.machine)
        following = [*again, *taken] if again else self._freed(taken)
        for job in following:
            self.jobs[job.key] = job
            self.view.lines[job.key].state = "waiting"
        return following

    def _freed(self, taken: Sequence[TrialJob]) -> list[TrialJob]:
        """Wait until one of these is left unfinished by the process that trained it, or all are over; then what is
        left."""
        over: dict[str, Ending] = {"FINISHED": "done", "FAILED": "failed", "KILLED": "stopped"}
        while taken:
            freed = {job.key for job in taken if not is_claimed(Path(job.checkpoint).parent)}
            records = self.planned.tracker.find_trials()
            left: list[TrialJob] = []
            for job in taken:
                record = records.get(job.key)
                if job.key not in freed:
                    left.append(job)
                elif record is None:
                    self.view.end(job.key, Outcome("failed", "it was dropped"))
                elif record.status in job.over:
                    self.view.end(job.key, Outcome(over[record.status], "by another process"))
                else:
                    left.append(job)
            if any(job.key in freed for job in left):
                return left
            taken = left
            if taken:
                time.sleep(LOOK_AGAIN_SECONDS)
        return []

    def _open_view(self, needs: Sequence[Need], console: Console) -> LiveView:
        planned = self.planned
        metric, _ = metric_names(planned.config.metric.extractor)
        log = open_log(Path(planned.config.paths.logs) / f"{planned.sweep.name}-{planned.task}.log")
        lines = {
            found.key: _line(planned, found, need, "waiting" if found.key in self.jobs else found.state)
            for found, need in zip(planned.trials, needs, strict=True)
        }
        return LiveView(f"{planned.sweep.name} on {planned.task}", metric, lines, self.slots, console, log)


class _Tables:
    """Rebuilds the tables as trials end, beside the training: never twice at once, so many short trials share one."""

    def __init__(self, planned: Plan) -> None:
        self.planned = planned
        self._worker = ThreadPoolExecutor(max_workers=1)
        self._last: Future[None] | None = None

    def refresh(self) -> None:
        if self._last is None or self._last.done():
            self._last = self._worker.submit(self._write)

    def close(self) -> None:
        self._worker.shutdown()

    def _write(self) -> None:
        places = self.planned.config.paths
        try:
            write_tables(self.planned.uri, self.planned.sweep.name, self.planned.task, Path(places.results))
        except (RecordsError, OSError):
            return  # it is written once more at the end, and says then what is wrong


def _rungs(planned: Plan) -> Rungs | None:
    """When a search halves its trials, and what those that are over had reached."""
    search = planned.sweep.search
    if search is None:
        return None
    config = planned.config
    metric, _ = metric_names(config.metric.extractor)
    epochs = config.train.constant_epochs + config.train.decay_epochs
    records = planned.tracker.find_trials()
    over = {
        found.key: records[found.key].run_id
        for found in planned.trials
        if found.key in records and records[found.key].status in ("FINISHED", "KILLED")
    }
    earlier = {
        key: [(step // planned.steps_per_epoch, score) for step, score in planned.tracker.score_history(run_id, metric)]
        for key, run_id in over.items()
    }
    first_epoch = search.halving.first_epoch(epochs, config.metric.every_epochs)
    return Rungs(first_epoch, search.halving.reduction, epochs, earlier)


def _line(plan: Plan, planned: PlannedTrial, need: Need, state: str) -> Line:
    weight = max(1.0, plan.operations_left(planned, need.cost))
    return Line(planned.trial.row, planned.trial.seed, state, weight)
