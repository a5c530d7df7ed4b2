"""Train what is left of a sweep under Ray, round by round."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from pipeline.errors import UserError
from pipeline.metrics.names import metric_names
from pipeline.orchestration.live_table import Line, LiveView, open_log
from pipeline.orchestration.planner import Plan, PlannedTrial, replan, with_records
from pipeline.orchestration.ray_tune import Events, run_jobs
from pipeline.orchestration.registration import end_trial, register_trials
from pipeline.orchestration.requirements import Requirement, estimate_requirements
from pipeline.orchestration.retry import next_round, wait_for_others
from pipeline.orchestration.search import add_sample, halving_rungs
from pipeline.orchestration.table_refresher import TableRefresher
from pipeline.trial.job import Outcome, TrialJob


def run_trials(
    plan: Plan, requirements: Sequence[Requirement], console: Console, nursery: str, *, retry_failed: bool
) -> Plan:
    """Train until nothing is left that can be trained now; return the plan as it is then.

    There are rounds, because a trial that ran out of memory is retried with more memory, and because another process
    may leave unfinished what it was training.
    """
    jobs = register_trials(plan, requirements, retry_failed=retry_failed)
    view = _open_view(plan, requirements, jobs, console)
    queue = JobQueue(plan, jobs, view)
    storage = Path(plan.config.paths.cache) / "ray" / str(os.getpid())
    try:
        with TableRefresher(plan) as tables, view:

            def ended(key: str, outcome: Outcome) -> None:
                progress = view.lines[key].progress
                queue.outcomes[key] = outcome
                view.end(key, outcome)
                try:
                    end_trial(plan, queue.jobs[key].run_id, outcome, progress.epoch if progress else 0)
                except UserError as error:
                    view.log.info("%s: %s", key, error)
                tables.refresh()

            events = Events(view.start, view.follow, ended)
            source, count = queue.first_round(), len(jobs) + plan.samples_to_draw
            while count:
                queue.outcomes.clear()
                run_jobs(source, count, view.slots, events, storage, nursery, rungs=halving_rungs(queue.plan))
                following = queue.next_round()
                source, count = iter(following), len(following)
    finally:
        shutil.rmtree(storage, ignore_errors=True)  # Tune's state for a restore that this project never makes
    return with_records(queue.plan, plan.tracker.find_trials())


class JobQueue:
    """The jobs of a sweep, round by round, and how those of the present round ended."""

    def __init__(self, plan: Plan, jobs: Sequence[TrialJob], view: LiveView) -> None:
        self.plan, self.view = plan, view
        # Trials of other processes come last: most of them are done by then.
        elsewhere = {planned.key for planned in plan.trials if planned.state == "training"}
        self.jobs = {job.key: job for job in sorted(jobs, key=lambda job: job.key in elsewhere)}
        self.outcomes: dict[str, Outcome] = {}

    def first_round(self) -> Iterator[TrialJob]:
        """The jobs of the plan, then those of a search's samples. Each is sampled only when there is room for it."""
        yield from list(self.jobs.values())
        while sampled := self._sample():
            yield from sampled

    def next_round(self) -> list[TrialJob]:
        """The jobs to run after a round. If only other processes' jobs are left, wait for those processes."""
        jobs = [self.jobs[key] for key in self.outcomes]
        retries, elsewhere = next_round(jobs, self.outcomes, self.plan.machine)
        if retries:
            return self._enqueue([*retries, *elsewhere])
        return self._enqueue(wait_for_others(elsewhere, self.plan.tracker, self.view.end))

    def _sample(self) -> list[TrialJob]:
        """The job of a search's next sample, and those of samples that another process has recorded meanwhile."""
        if not self.plan.samples_to_draw:
            return []
        tracker = self.plan.tracker
        with tracker.lock:
            records = tracker.find_trials()
            self.plan = add_sample(replan(self.plan, self.plan.sweep, records), records, self.view.log)
            requirements = estimate_requirements(self.plan)
            jobs = register_trials(self.plan, requirements, records=records)
        for planned, requirement in zip(self.plan.trials, requirements, strict=True):
            self.view.lines.setdefault(planned.key, _line(self.plan, planned, requirement, planned.state))
        return self._enqueue([job for job in jobs if job.key not in self.jobs])

    def _enqueue(self, jobs: list[TrialJob]) -> list[TrialJob]:
        for job in jobs:
            self.jobs[job.key] = job
            self.view.lines[job.key].state = "waiting"
        return jobs


def _open_view(plan: Plan, requirements: Sequence[Requirement], jobs: Sequence[TrialJob], console: Console) -> LiveView:
    waiting = {job.key for job in jobs}
    lines = {
        planned.key: _line(plan, planned, requirement, "waiting" if planned.key in waiting else planned.state)
        for planned, requirement in zip(plan.trials, requirements, strict=True)
    }
    slots = max((job.share.slots for job in jobs), default=requirements[0].share.slots)
    metric, _ = metric_names(plan.config.metric.extractor)
    log = open_log(Path(plan.config.paths.logs) / f"{plan.sweep.name}-{plan.task}.log")
    return LiveView(f"{plan.sweep.name} on {plan.task}", metric, lines, slots, console, log)


def _line(plan: Plan, planned: PlannedTrial, requirement: Requirement, state: str) -> Line:
    weight = max(1.0, plan.remaining_operations(planned, requirement.cost))
    return Line(planned.trial.row, planned.trial.seed, state, weight)
