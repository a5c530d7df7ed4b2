"""just bench start: how long commands take to their first line and to their end."""

import os
import pty
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.benchmarks.report import Report, make_report
from pipeline.config.sweep_file import SWEEPS

# In this order: the sweep trains in the middle. Those after it find it finished.
COMMANDS = (
    ("an unknown name", ("plan", "nosuch"), 2),
    ("an unknown setting", ("plan", "smoke", "train.nosuch=1"), 2),
    ("a sweep to plan, planned before", ("plan", "smoke"), 0),
    ("a finished sweep", ("status", "smoke"), 0),
    ("a finished sweep", ("plan", "smoke"), 0),
    ("a finished sweep", ("tables", "smoke"), 0),
    ("a finished sweep", ("sweep", "smoke"), 0),
)
# Commands whose imports cannot be timed by another run, since it would train.
TRAIN = ("sweep", "smoke")
PACKAGES = ("torch", "torchvision", "mlflow", "pandas", "scipy.stats", "matplotlib.figure", "ray.tune", "hydra")
# A line of `python -X importtime`: the microseconds of a module without those that it imports.
IMPORTED = re.compile(r"^import time:\s+(\d+) \|", re.MULTILINE)


def bench_start(repeats: int) -> Report:
    """Run commands in an empty folder, on a terminal of their own. Measure also what importing packages takes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / SWEEPS).symlink_to(SWEEPS.absolute())
        _run(("plan", "smoke"), folder, 0)  # draws the images, and counts the cost of a step
        to_train = [_measured(*command, folder, repeats) for command in COMMANDS[:3]]
        first, whole = _run(TRAIN, folder, 0)
        trained = {"work": "a sweep to train", "command": " ".join(TRAIN), "seconds_first": first, "seconds": whole}
        finished = [_measured(*command, folder, repeats) for command in COMMANDS[3:]]
    rows = [*to_train, {**trained, "seconds_imports": None}, *finished]
    for package in PACKAGES:
        seconds = statistics.median(_seconds([sys.executable, "-c", f"import {package}"]) for _ in range(repeats))
        row = {"work": "a package alone", "command": f"import {package}", "seconds_first": None, "seconds": seconds}
        rows.append({**row, "seconds_imports": None})
    return make_report("start", rows, {}, repeats=repeats)


def _measured(work: str, command: Sequence[str], code: int, folder: Path, repeats: int) -> dict[str, object]:
    runs = [_run(command, folder, code) for _ in range(repeats)]
    timed = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "pipeline", *command],
        cwd=folder,
        env=_environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "work": work,
        "command": " ".join(command),
        "seconds_first": statistics.median(first for first, _ in runs),
        "seconds": statistics.median(whole for _, whole in runs),
        "seconds_imports": sum(map(int, IMPORTED.findall(timed.stderr))) / 1e6,
    }


def _run(command: Sequence[str], folder: Path, code: int) -> tuple[float, float]:
    """Run a command. Return the seconds to its first line and to its end.

    On a terminal, since a program keeps its lines back if it prints into a pipe.
    """
    ours, theirs = pty.openpty()
    started, first, said = time.perf_counter(), 0.0, b""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *command],
        cwd=folder,
        env=_environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        while found := os.read(ours, 65536):
            said += found
            if not first and b"\n" in said:
                first = time.perf_counter() - started
    except OSError:  # EIO: Linux says so when the last process has closed the terminal
        pass
    finally:
        os.close(ours)
    if process.wait() != code:
        raise RuntimeError(f"{' '.join(command)} ended with exit code {process.returncode}: {said.decode()}")
    return first, time.perf_counter() - started


def _seconds(command: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - started


def _environment(folder: Path) -> dict[str, str]:
    # The parent's modules are found in the scratch folder too.
    paths = os.pathsep.join(path for path in sys.path if path)
    return {**os.environ, "PYTHONPATH": paths, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
