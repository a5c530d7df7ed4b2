"""What running trials costs beside the trials themselves."""

import tempfile
import time
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Column, Table

from pipeline.benchmarks.report import Report
from pipeline.config.sweep_file import Row, Sweep
from pipeline.hardware.device import device_name
from pipeline.orchestration.planner import plan_sweep
from pipeline.orchestration.ray_tune import Events, cluster, run_jobs
from pipeline.orchestration.registration import register_trials
from pipeline.orchestration.requirements import estimate_requirements
from pipeline.trial.job import Outcome, Progress
from pipeline.trial.process import forked_nursery

# Small enough that drawing the data counts for nothing.
TINY = ["data.train_count=4", "data.test_count=4", "data.size=32", "model.generator.channels=4"]


def bench_sweep(trials: int, *, as_json: bool) -> None:
    """Time a sweep of trials that do nothing, in a folder of its own; print seconds a trial of each part."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        seconds = time_sweep(trials)
    if as_json:
        rows = [{"work": part, "seconds": took, "seconds_per_trial": took / trials} for part, took in seconds.items()]
        machine = device_name(torch.device("cpu"))
        print(Report("sweep", machine, "cpu", torch.get_num_threads(), 1, rows, {"trials": trials}).to_json())
        return
    columns = [Column(name, justify="right") for name in ("seconds", "seconds a trial")]
    table = Table("part", *columns, title=f"{trials} trials that do nothing", title_justify="left")
    for part, took in seconds.items():
        table.add_row(part, f"{took:.1f}", f"{took / trials:.3f}")
    Console().print(table)


def time_sweep(trials: int) -> dict[str, float]:
    """Seconds by part: planning (composition, keys, records), recording (a run for each), Ray's start, running."""
    rows = tuple(Row(f"row {number}", {"model.temperature": 1.0 + number}) for number in range(trials))
    sweep = Sweep("bench", "What does a trial cost beside itself?", (0,), rows)
    seconds: dict[str, float] = {}
    with forked_nursery() as nursery:
        plan_sweep(
            Sweep("first", "", (0,), rows[:1]), [*TINY, "tracking.uri=sqlite:///mlflow.db"]
        )  # lays out the store
        clock = _Clock(seconds)
        plan = plan_sweep(sweep, [*TINY, "tracking.uri=sqlite:///mlflow.db"])
        requirements = estimate_requirements(plan)
        clock.stop("plan")
        jobs = register_trials(plan, requirements)
        clock.stop("record in MLflow")
        with cluster(plan.machine.cores, plan.machine.gpus, plan.machine.memory_gb):
            clock.stop("start Ray")
            ended: list[str] = []
            events = Events(lambda key: None, lambda key, at: None, lambda key, outcome: ended.append(key))
            run_jobs(iter(jobs), len(jobs), requirements[0].share.slots, events, Path("ray"), nursery, work=idle)
            clock.stop("run, a process each")
    assert len(ended) == trials, "every stub ends"
    return seconds


def idle(job: str, tell: Callable[[Progress], None]) -> Outcome:
    """The work of a trial that is over as soon as it has begun."""
    tell(Progress(1, 1, 0, 0.0, 0.0, 1, None, scored_now=False, peak_live_gb=None))
    return Outcome("done")


class _Clock:
    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds, self.since = seconds, time.perf_counter()

    def stop(self, part: str) -> None:
        self.seconds[part] = time.perf_counter() - self.since
        self.since = time.perf_counter()
