"""just bench sweep: what a sweep costs apart from training."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

from pipeline.benchmarks.report import Report, make_report
from pipeline.benchmarks.scale.driver import STORE, TINY, sweep_of
from pipeline.orchestration.planner import plan_sweep
from pipeline.orchestration.requirements import estimate_requirements

ROOT = Path(__file__).parents[2]
# Each trial's process would import a main module anew, and this one imports Ray.
DRIVE = "import sys; from pipeline.benchmarks.scale.driver import main; main(sys.argv[1])"
# Of the driver's memory, in the report.
LOOKS = 8


def bench_sweep(trials: int) -> Report:
    """Time a sweep of trials that do nothing, in a temporary folder. Measure the driver's memory and its store."""
    measured = time_sweep(trials)
    rows = [{**part, "seconds_per_trial": part["seconds"] / trials} for part in measured["parts"]]
    memory = measured["memory"]
    course = [memory[round(at * (len(memory) - 1) / (LOOKS - 1))] for at in range(LOOKS)]
    calls = sum(part["calls"] for part in rows)
    notes = [
        f"The first trial starts {measured['first_trial_seconds']:.1f} s after planning begins.",
        f"The driver's memory (s: GB): {', '.join(f'{seconds:.0f}: {gb:.2f}' for seconds, gb in course)}. "
        f"Peak: {max(gb for _, gb in memory):.2f} GB.",
        f"The driver calls the store {calls} times, {calls / trials:.2f} a trial. The store then has "
        f"{measured['store_bytes'] / 1e6:.1f} MB.",
    ]
    return make_report("sweep", rows, {"trials": trials}, notes=notes)


def time_sweep(trials: int) -> Mapping[str, Any]:
    """Run a sweep of empty trials in a process of its own. Return `scale.driver.Measured`, as a mapping."""
    with tempfile.TemporaryDirectory() as folder:
        with chdir(folder):
            plan = plan_sweep(sweep_of(1), [*TINY, STORE])
            # Counts the cost of a step, which imports torch. A sweep does so once for each model.
            estimate_requirements(plan)
            # Creates the database, which is not measured.
            assert plan.tracker.experiment_id
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", DRIVE, str(trials)]
        ran = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ran.stdout.splitlines()[-1])
