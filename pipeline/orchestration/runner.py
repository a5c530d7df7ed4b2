"""Train what is left of a sweep under Ray."""

import shutil
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from analysis.records.names import Tag
from analysis.records.schema import RecordsError
from analysis.tables.write import write_tables
from pipeline.cluster.fleet import Fleet
from pipeline.cluster.node_watch import NodeWatch
from pipeline.cluster.ray_guard import started_anew
from pipeline.config.places import results_folder
from pipeline.errors import UserError
from pipeline.event_log import open_log
from pipeline.notify.news import News
from pipeline.orchestration.fleet_places import places_of
from pipeline.orchestration.job_queue import JobQueue
from pipeline.orchestration.leftovers import tune_storage
from pipeline.orchestration.live_table import Line, LiveView
from pipeline.orchestration.planner import Plan, PlannedTrial, replan, with_records
from pipeline.orchestration.ray_tune import UNLIMITED, Events, run_jobs
from pipeline.orchestration.registration import Registration, RunsAhead
from pipeline.orchestration.requirements import Requirement, estimate_requirements
from pipeline.orchestration.sampler import add_sample, halving_rungs
from pipeline.storage.address import parent_of
from pipeline.tracking.lease import is_leased
from pipeline.tracking.store import Tracker
from pipeline.trial.job import Ending, Outcome, Progress, TrialJob
from pipeline.trial.lock import is_claimed
from pipeline.trial.stop_request import stops_at, withdraw_stop
from pipeline.trial.waiting_records import send_waiting_records

# How often to look whether another process has ended a trial.
POLL_SECONDS = 2.0
# The runs of so many waiting trials are created, so that a trial starts as soon as there is room.
RUNS_AHEAD = 8
_ENDINGS: dict[str, Ending] = {"FINISHED": "done", "FAILED": "failed", "KILLED": "stopped"}
# The sweep ends after so long a time without an answer of the tracking store. Its trials can be resumed.
MOST_OUTAGE_SECONDS = 3600.0


def run_trials(
    plan: Plan,
    requirements: Sequence[Requirement],
    console: Console,
    server: str,
    news: News,
    *,
    retry_failed: bool,
    fleet: Fleet | None = None,
) -> Plan:
    """Train until nothing is left that can be trained now; return the plan as it is then.

    fleet: the cluster that runs the trials; None for this machine alone.
    """
    registration = Registration(plan, requirements, retry_failed=retry_failed, code=fleet.code if fleet else "")
    jobs = registration.jobs
    withdraw_requests(jobs)
    lines = {
        planned.key: _line(plan, planned, requirement)
        for planned, requirement in zip(plan.trials, requirements, strict=True)
    }
    slots = max((job.share.slots for job in jobs), default=requirements[0].share.slots)
    log = open_log(plan.log_file)
    view = LiveView(f"{plan.sweep.name} on {plan.task}", plan.metric, lines, slots, console, log, news)
    storage = tune_storage(Path(plan.config.paths.cache))
    jobs_left = SweepJobs(plan, jobs, view, RunsAhead(registration.run_of), fleet)
    with ThreadPoolExecutor(max_workers=1) as background, ExitStack() as held:
        watch = jobs_left.watch = held.enter_context(jobs_left.watch_nodes()) if fleet else None
        rewriting: Future[None] | None = None

        def end(key: str, outcome: Outcome) -> None:
            nonlocal rewriting
            jobs_left.end(key, outcome)
            # If many short trials end, several share one rewrite.
            if rewriting is None or rewriting.done():
                rewriting = background.submit(_rewrite_tables, jobs_left.plan)

        try:
            with view:
                plan.tracker.ask_through_outages(MOST_OUTAGE_SECONDS, view.store_is_silent)
                events = Events(jobs_left.start, jobs_left.follow, end)
                if watch:
                    slots, events.each_step, events.is_gone = UNLIMITED, watch.look, watch.is_gone
                run_jobs(jobs_left, slots, events, storage, server, rungs=halving_rungs(plan))
        finally:
            shutil.rmtree(storage, ignore_errors=True)  # Tune's state for a restore that this project never makes
    plan.tracker.find_trials()  # waits until the store answers
    send_waiting_records(plan.config.paths, plan.tracker.uri)
    return with_records(jobs_left.plan, plan.tracker.find_trials())


def withdraw_requests(jobs: Sequence[TrialJob]) -> None:
    """Let trials train that `just stop` has stopped: the user has given the command since.

    Requests stay if the sweep has only started Ray anew.
    """
    if not started_anew():
        at_address = stops_at(parent_of(jobs[0].stored)) if jobs and jobs[0].stored else set[str]()
        for job in jobs:
            withdraw_stop(Path(job.checkpoint).parent, job.stored if job.key in at_address else "")


class SweepJobs:
    """The jobs of a sweep, and what is recorded of those that end."""

    def __init__(
        self, plan: Plan, jobs: Sequence[TrialJob], view: LiveView, runs: RunsAhead, fleet: Fleet | None = None
    ) -> None:
        self.plan, self.view, self.runs, self.fleet = plan, view, runs, fleet
        # Trials of other processes come last: most of them are done by then.
        elsewhere = {planned.key for planned in plan.trials if planned.state == "training"}
        self.places = places_of(lambda: self.plan, fleet) if fleet else None
        in_order = sorted(jobs, key=lambda job: job.key in elsewhere)
        self.queue = JobQueue(in_order, plan.machine, self.places)
        self.watch: NodeWatch | None = None
        self._taken: list[TrialJob] = []
        self._next: TrialJob | None = None

    def watch_nodes(self) -> NodeWatch:
        """Return what follows the nodes of the cluster."""
        assert self.fleet and self.places, "only on a cluster"
        fleet = self.fleet
        return NodeWatch(self.places, fleet.questions, fleet.asked, self.queue.lost_nodes, self.view.say)

    def start(self, key: str) -> None:
        """A trial starts, or starts again."""
        job = self.queue.running(key)
        self.view.start(key, job.host if job else "")

    def follow(self, key: str, progress: Progress) -> None:
        """A running trial reports its progress."""
        if self.places:
            self.places.works(key)
            self.view.slots, self.view.nodes = self.places.slots(key), len(self.places.nodes)
        self.view.follow(key, progress)

    @property
    def finished(self) -> bool:
        """Whether nothing is left that can be trained now."""
        return self.queue.finished

    def next(self) -> TrialJob | None:
        """Return the next job: one that waits, a search's next sample, or what another process leaves unfinished."""
        if self.watch:
            self.watch.look()  # while nothing runs, Tune calls nothing else
        if self.queue.empty and self._next is None:
            self._add(self._sample())
        if self.queue.finished and self._taken:
            left, self._taken = _wait_for_others(self._taken, self.plan.tracker, self.view), []
            self._add(left)
        self.runs.ask(self.queue.first(RUNS_AHEAD))
        self._next = self._next or self.queue.next()
        run_id = self.runs.find(self._next) if self._next else None
        if self._next is None or run_id is None:
            return None  # Ray asks again
        job, self._next = self._next, None
        return replace(job, run_id=run_id)

    def end(self, key: str, outcome: Outcome) -> None:
        """A job has ended. Record how, unless it runs again."""
        job, progress = self.queue.jobs[key], self.view.lines[key].progress
        run_id = self.runs.find(job) or ""  # known since it started
        again = self.queue.end(key, outcome, progress)
        self.view.end(key, outcome, again=again)
        if outcome.ending == "taken":
            self._taken.append(job)
        tracker = self.plan.tracker
        try:
            if outcome.ending == "lost":
                tracker.tag_trial(run_id, {Tag.LOSSES: self.queue.lost[key]})
            # The trial could not end its run itself if it was lost, or if the search stopped it.
            if outcome == Outcome("stopped"):
                stopped = f"by the search after epoch {progress.epoch if progress else 0}"
                tracker.end_trial(run_id, "KILLED", {Tag.STOPPED: stopped})
            elif outcome.ending in ("lost", "failed", "memory") and not again:
                tracker.end_trial(run_id, "FAILED", {Tag.ERROR: outcome.reason})
        except UserError as error:
            self.view.log.info("%s: %s", key, error)

    def _sample(self) -> list[TrialJob]:
        """The job of a search's next sample, and those of samples that another process has recorded meanwhile."""
        if not self.plan.samples_to_draw:
            return []
        with self.plan.tracker.lock:
            records = self.plan.tracker.find_trials()
            self.plan = add_sample(replan(self.plan, self.plan.sweep, records), records, self.view.log)
            requirements = estimate_requirements(self.plan)
            registration = Registration(self.plan, requirements)
            new = [job for job in registration.jobs if job.key not in self.queue.jobs]
            # At once: other processes know a sample by its run.
            jobs = [replace(job, run_id=registration.run_of(job)) for job in new]
        for planned, requirement in zip(self.plan.trials, requirements, strict=True):
            self.view.lines.setdefault(planned.key, _line(self.plan, planned, requirement))
        return jobs

    def _add(self, jobs: Sequence[TrialJob]) -> None:
        for job in jobs:
            self.view.lines[job.key].state = "waiting"
        self.queue.add(jobs)


def _rewrite_tables(plan: Plan) -> None:
    # The command writes the tables once more at its end, and reports an error then.
    with suppress(RecordsError, OSError):
        write_tables(plan.tracker.uri, plan.sweep.name, plan.task, results_folder(plan.config.paths))


def _line(plan: Plan, planned: PlannedTrial, requirement: Requirement) -> Line:
    weight = max(1.0, plan.remaining_operations(planned, requirement.cost))
    state = planned.state if planned.state in ("done", "stopped", "failed") else "waiting"
    return Line(planned.trial.row, planned.trial.seed, state, weight)


def _wait_for_others(jobs: list[TrialJob], tracker: Tracker, view: LiveView) -> list[TrialJob]:
    """Wait until another process leaves one of these jobs unfinished, or all have ended; return those left."""
    while jobs:
        unlocked = {job.key for job in jobs if not is_claimed(Path(job.checkpoint).parent, job.tracking_uri)}
        records = tracker.find_trials()
        unlocked -= {key for key, record in records.items() if is_leased(record.tags)}
        left: list[TrialJob] = []
        for job in jobs:
            record = records.get(job.key)
            if job.key in unlocked and record is None:
                view.end(job.key, Outcome("failed", "it was dropped"))
            elif job.key in unlocked and record and record.status in job.final_statuses:
                view.end(job.key, Outcome(_ENDINGS[record.status], "by another process"))
            else:
                left.append(job)
        if not left or any(job.key in unlocked for job in left):
            return left
        jobs = left
        time.sleep(POLL_SECONDS)
    return []
