"""Train what is left of a sweep under Ray, round by round."""

import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from analysis.records.names import Tag
from analysis.records.schema import RecordsError
from analysis.tables.write import write_tables
from pipeline.errors import UserError
from pipeline.orchestration.live_table import Line, LiveView, open_log
from pipeline.orchestration.planner import Plan, PlannedTrial, replan, with_records
from pipeline.orchestration.ray_tune import Events, run_jobs
from pipeline.orchestration.registration import register_trials
from pipeline.orchestration.requirements import Requirement, estimate_requirements
from pipeline.orchestration.retry import next_round, wait_for_others
from pipeline.orchestration.sampler import add_sample, halving_rungs
from pipeline.trial.job import Outcome, TrialJob


def run_trials(
    plan: Plan, requirements: Sequence[Requirement], console: Console, server: str, *, retry_failed: bool
) -> Plan:
    """Train until nothing is left that can be trained now; return the plan as it is then.

    There are rounds, because a trial that ran out of memory is retried with more memory, and because another process
    may leave unfinished what it was training.
    """
    jobs = register_trials(plan, requirements, retry_failed=retry_failed)
    lines = {
        planned.key: _line(plan, planned, requirement)
        for planned, requirement in zip(plan.trials, requirements, strict=True)
    }
    slots = max((job.share.slots for job in jobs), default=requirements[0].share.slots)
    log = open_log(Path(plan.config.paths.logs) / f"{plan.sweep.name}-{plan.task}.log")
    view = LiveView(f"{plan.sweep.name} on {plan.task}", plan.metric, lines, slots, console, log)
    storage = Path(plan.config.paths.cache) / "ray" / str(os.getpid())
    queue = JobQueue(plan, jobs, view)
    with ThreadPoolExecutor(max_workers=1) as background:
        rewriting: Future[None] | None = None

        def end(key: str, outcome: Outcome) -> None:
            nonlocal rewriting
            queue.end(key, outcome)
            # If many short trials end, several share one rewrite.
            if rewriting is None or rewriting.done():
                rewriting = background.submit(_rewrite_tables, queue.plan)

        try:
            with view:
                events = Events(view.start, view.follow, end)
                source, count = queue.first_round(), len(jobs) + plan.samples_to_draw
                while count:
                    queue.outcomes.clear()
                    run_jobs(source, count, slots, events, storage, server, rungs=halving_rungs(queue.plan))
                    following = queue.next_round()
                    source, count = iter(following), len(following)
        finally:
            shutil.rmtree(storage, ignore_errors=True)  # Tune's state for a restore that this project never makes
    return with_records(queue.plan, plan.tracker.find_trials())


class JobQueue:
    """The jobs of a sweep, round by round, and how those of the present round ended."""

    def __init__(self, plan: Plan, jobs: Sequence[TrialJob], view: LiveView) -> None:
        self.plan, self.view = plan, view
        self.jobs: dict[str, TrialJob] = {}
        self.outcomes: dict[str, Outcome] = {}
        # Trials of other processes come last: most of them are done by then.
        elsewhere = {planned.key for planned in plan.trials if planned.state == "training"}
        self._enqueue(sorted(jobs, key=lambda job: job.key in elsewhere))

    def first_round(self) -> Iterator[TrialJob]:
        """The jobs of the plan, then those of a search's samples. Each is sampled only when there is room for it."""
        yield from list(self.jobs.values())
        while sampled := self._sample():
            yield from sampled

    def end(self, key: str, outcome: Outcome) -> None:
        """A job of this round has ended. Record how."""
        run_id, progress = self.jobs[key].run_id, self.view.lines[key].progress
        self.outcomes[key] = outcome
        self.view.end(key, outcome)
        try:
            # The trial could not end its run itself if it died, or if the search stopped it.
            if outcome == Outcome("stopped"):
                stopped = f"by the search after epoch {progress.epoch if progress else 0}"
                self.plan.tracker.end_trial(run_id, "KILLED", {Tag.STOPPED: stopped})
            elif outcome.ending in ("died", "failed", "memory"):
                self.plan.tracker.end_trial(run_id, "FAILED", {Tag.ERROR: outcome.reason})
        except UserError as error:
            self.view.log.info("%s: %s", key, error)

    def next_round(self) -> list[TrialJob]:
        """The jobs to run after a round. If only other processes' jobs are left, wait for those processes."""
        retries, elsewhere = next_round([self.jobs[key] for key in self.outcomes], self.outcomes, self.plan.machine)
        left = elsewhere if retries else wait_for_others(elsewhere, self.plan.tracker, self.view)
        return self._enqueue([*retries, *left])

    def _sample(self) -> list[TrialJob]:
        """The job of a search's next sample, and those of samples that another process has recorded meanwhile."""
        if not self.plan.samples_to_draw:
            return []
        with self.plan.tracker.lock:
            records = self.plan.tracker.find_trials()
            self.plan = add_sample(replan(self.plan, self.plan.sweep, records), records, self.view.log)
            requirements = estimate_requirements(self.plan)
            jobs = register_trials(self.plan, requirements)
        for planned, requirement in zip(self.plan.trials, requirements, strict=True):
            self.view.lines.setdefault(planned.key, _line(self.plan, planned, requirement))
        return self._enqueue([job for job in jobs if job.key not in self.jobs])

    def _enqueue(self, jobs: list[TrialJob]) -> list[TrialJob]:
        for job in jobs:
            self.jobs[job.key] = job
            self.view.lines[job.key].state = "waiting"
        return jobs


def _rewrite_tables(plan: Plan) -> None:
    # The command writes the tables once more at its end, and reports an error then.
    with suppress(RecordsError, OSError):
        write_tables(plan.tracker.uri, plan.sweep.name, plan.task, Path(plan.config.paths.results))


def _line(plan: Plan, planned: PlannedTrial, requirement: Requirement) -> Line:
    weight = max(1.0, plan.remaining_operations(planned, requirement.cost))
    state = planned.state if planned.state in ("done", "stopped", "failed") else "waiting"
    return Line(planned.trial.row, planned.trial.seed, state, weight)
