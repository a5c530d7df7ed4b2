"""A sweep of trials that do nothing, in a process like that of `just sweep`: without torch. Prints what it costs.

It runs in a folder where such a step was counted before.
"""

import json
import os
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from pipeline.benchmarks.idle_trial import idle
from pipeline.cluster.ray_cluster import own_cluster
from pipeline.config.sweep_file import Row, Sweep
from pipeline.event_log import open_log
from pipeline.orchestration.live_table import Line, LiveView
from pipeline.orchestration.planner import Plan, plan_sweep
from pipeline.orchestration.ray_tune import Events, run_jobs
from pipeline.orchestration.registration import Registration, RunsAhead
from pipeline.orchestration.requirements import Requirement, estimate_requirements
from pipeline.orchestration.runner import SweepJobs
from pipeline.trial.job import Outcome
from pipeline.trial.server import trial_server

# Preparing so little data takes no measurable time.
TINY = ("data.train_count=4", "data.test_count=4", "data.size=32", "model.generator.channels=4")
STORE = "tracking.uri=sqlite:///mlflow.db"
SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True)
class Part:
    """A part of the sweep: its time, and of the driver the CPU time, the memory at the end, and calls of the store."""

    work: str
    seconds: float
    cpu_seconds: float
    resident_gb: float
    calls: int


@dataclass(frozen=True)
class Measured:
    """What a sweep of empty trials costs.

    first_trial_seconds: from the start of planning. trial_seconds: of a trial, from its start in Ray to its end, mean.
    all_trials_seconds: from the start of the first trial to the end of the last.
    memory: of the driver, (seconds, 10^9 bytes). slots: how many trials run at once.
    """

    parts: tuple[Part, ...]
    first_trial_seconds: float
    trial_seconds: float
    all_trials_seconds: float
    slots: int
    memory: tuple[tuple[float, float], ...]
    store_bytes: int


def sweep_of(trials: int) -> Sweep:
    """Return a sweep of so many rows, whose steps cost the same."""
    rows = tuple(Row(f"row {number}", {"model.temperature": 1.0 + number}) for number in range(trials))
    return Sweep("bench", "What does a sweep cost apart from training?", (0,), rows)


def measure(trials: int) -> Measured:
    """Run the sweep in the working folder."""
    began, parts = time.perf_counter(), list[Part]()
    with watched_memory() as memory, trial_server() as server:
        last = time.perf_counter(), time.process_time(), 0
        plan = plan_sweep(sweep_of(trials), [*TINY, STORE])
        requirements = estimate_requirements(plan)

        def end(work: str) -> None:
            nonlocal last
            now = time.perf_counter(), time.process_time(), plan.tracker.calls
            seconds, cpu_seconds, calls = (new - old for new, old in zip(now, last, strict=True))
            parts.append(Part(work, seconds, cpu_seconds, resident_gb(), int(calls)))
            last = now

        end("plan")
        registration = Registration(plan, requirements)
        end("record the sweep")
        with own_cluster(plan.machine.cores, plan.machine.gpus, plan.machine.memory_gb):
            end("start Ray")
            started, ended = run(plan, requirements, registration, server)
            end("run, a process each")
    assert len(ended) == trials, ended
    return Measured(
        tuple(parts),
        first_trial_seconds=min(started.values()) - began,
        trial_seconds=statistics.mean(ended[key] - started[key] for key in ended),
        all_trials_seconds=max(ended.values()) - min(started.values()),
        slots=requirements[0].share.slots,
        memory=tuple(memory),
        store_bytes=Path("mlflow.db").stat().st_size,
    )


def run(
    plan: Plan, requirements: Sequence[Requirement], registration: Registration, server: str
) -> tuple[dict[str, float], dict[str, float]]:
    """Run all trials as a sweep does. Return when each was started and ended, by its key."""
    lines = {planned.key: Line(planned.trial.row, planned.trial.seed, "waiting", 1.0) for planned in plan.trials}
    slots, log = requirements[0].share.slots, open_log(plan.log_file)
    view = LiveView("bench", plan.metric, lines, slots, Console(quiet=True), log)
    jobs = SweepJobs(plan, registration.jobs, view, RunsAhead(registration.run_of))
    started, ended = dict[str, float](), dict[str, float]()

    def start(key: str) -> None:
        started[key] = time.perf_counter()
        jobs.start(key)

    def end(key: str, outcome: Outcome) -> None:
        assert outcome == Outcome("done"), outcome
        ended[key] = time.perf_counter()
        jobs.end(key, outcome)

    run_jobs(jobs, slots, Events(start, jobs.follow, end), Path("ray"), server, target=idle)
    return started, ended


@contextmanager
def watched_memory() -> Iterator[list[tuple[float, float]]]:
    """Yield a list that gets (seconds, resident memory of this process in 10^9 bytes) during the body."""
    found, over, began = list[tuple[float, float]](), threading.Event(), time.perf_counter()

    def watch() -> None:
        while not over.wait(SECONDS_BETWEEN_LOOKS):
            found.append((time.perf_counter() - began, resident_gb()))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def resident_gb() -> float:
    """Return the resident memory of this process (10^9 bytes)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9


def main(trials: str) -> None:
    """Run the sweep in the working folder, and print `Measured` as JSON."""
    print(json.dumps(asdict(measure(int(trials)))))
