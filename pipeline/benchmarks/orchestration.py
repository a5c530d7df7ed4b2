"""just bench sweep: what a sweep costs apart from training."""

import tempfile
import time
from contextlib import chdir
from itertools import pairwise
from pathlib import Path

from pipeline.benchmarks.idle_trial import idle
from pipeline.benchmarks.report import Report, make_report
from pipeline.cluster.ray_cluster import own_cluster
from pipeline.config.sweep_file import Row, Sweep
from pipeline.orchestration.job_queue import JobQueue
from pipeline.orchestration.planner import plan_sweep
from pipeline.orchestration.ray_tune import Events, run_jobs
from pipeline.orchestration.registration import register_trials
from pipeline.orchestration.requirements import estimate_requirements
from pipeline.trial.job import Outcome
from pipeline.trial.server import trial_server

# Preparing so little data takes no measurable time.
TINY = ["data.train_count=4", "data.test_count=4", "data.size=32", "model.generator.channels=4"]
PARTS = ("plan", "record in MLflow", "start Ray", "run, a process each")


def bench_sweep(trials: int) -> Report:
    """Time a sweep of trials that do nothing, in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        seconds = time_sweep(trials)
    rows = [{"work": part, "seconds": took, "seconds_per_trial": took / trials} for part, took in seconds.items()]
    return make_report("sweep", rows, {"trials": trials})


def time_sweep(trials: int) -> dict[str, float]:
    """Return the seconds of each part: plan, create the runs in MLflow, start Ray, run a process per trial."""
    rows = tuple(Row(f"row {number}", {"model.temperature": 1.0 + number}) for number in range(trials))
    sweep = Sweep("bench", "What does a sweep cost apart from training?", (0,), rows)
    outcomes: list[Outcome] = []

    def end(key: str, outcome: Outcome) -> None:
        outcomes.append(outcome)
        queue.end(key, outcome)

    with trial_server() as server:
        # Creates the database, which is not measured.
        plan_sweep(Sweep("first", "", (0,), rows[:1]), [*TINY, "tracking.uri=sqlite:///mlflow.db"])
        times = [time.perf_counter()]
        plan = plan_sweep(sweep, [*TINY, "tracking.uri=sqlite:///mlflow.db"])
        requirements = estimate_requirements(plan)
        times.append(time.perf_counter())
        jobs = register_trials(plan, requirements)
        times.append(time.perf_counter())
        with own_cluster(plan.machine.cores, plan.machine.gpus, plan.machine.memory_gb):
            times.append(time.perf_counter())
            queue = JobQueue(jobs, plan.machine)
            events = Events(lambda key: None, lambda key, at: None, end)
            run_jobs(queue, requirements[0].share.slots, events, Path("ray"), server, target=idle)
            times.append(time.perf_counter())
    assert outcomes == [Outcome("done")] * trials, outcomes
    return {part: end - start for part, (start, end) in zip(PARTS, pairwise(times), strict=True)}
