"""Run small sweeps as commands, do harm to them, and look at what is left."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import socket

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run

from analysis.records.names import Tag, timed_metrics
from pipeline.environment import runtime_folder
from pipeline.tracking.lease import is_leased

SWEEP = """
name: pair
question: Do two trials end?
base: [task=stripes, data.train_count=24, data.test_count=6, data.size=32, model.generator.channels=4,
       model.discriminator.channels=4, train.constant_epochs=5, train.decay_epochs=1, train.log_every_steps=4,
       metric.every_epochs=1, compute.cpus_per_trial=1]
seeds: [0]
rows:
  - {row: internal, set: {model.negatives: [internal]}}
  - {row: external, set: {model.negatives: [external]}}
"""
# Differ between runs of the same command, or tell how it was disturbed.
NOT_COMPARED = ("_peak_", "cost/steps_repeated", "run_id", "losses", "timed")
MOST_TRIES = 12
# When each command was started, by its process.
started_at: dict[int, float] = {}
PHASES = ("start", "planning", "Ray starts", "trials start", "training", "saving", "tables")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pipeline", *arguments]


def start(*arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Start a command in a process group of its own, as a shell does."""
    before = time.time()
    sweep = subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **variables},
    )
    started_at[sweep.pid] = before
    return sweep


def until(reached: Callable[[], object], seconds: float = 120, every: float = 0.05) -> None:
    """Wait for something that no event announces to this process."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(every)


def descendants(pid: int) -> list[int]:
    """All processes below one, the nearest first."""
    children: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            children += map(int, task.read_text().split())
    return children + [found for child in children for found in descendants(child)]


def cmdline(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def processes(sweep: subprocess.Popen[str], name: str) -> list[int]:
    """The processes of a sweep with this in their command, such as 'gcs_server' or 'Trainable' (a Ray worker)."""
    return [pid for pid in descendants(sweep.pid) if name in cmdline(pid)]


def trial_processes(sweep: subprocess.Popen[str]) -> list[int]:
    """The processes that train: the children of the fork server."""
    servers = processes(sweep, "multiprocessing.forkserver")
    return [pid for server in servers for pid in descendants(server) if server != pid]


def trials(uri: str) -> list[Run]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("stripes")
    return client.search_runs([experiment.experiment_id], "tags.kind = 'trial'") if experiment else []


@dataclass(frozen=True)
class Results:
    """The scores of a finished sweep, and its scores over training."""

    table: pd.DataFrame
    course: str


def results(folder: Path = Path("results/pair/stripes")) -> Results:
    frame = pd.read_csv(folder / "trials.csv").dropna(axis=1, how="all")
    dropped = [name for name in frame if name in timed_metrics() or any(part in name for part in NOT_COMPARED)]
    return Results(frame.drop(columns=dropped), (folder / "course.csv").read_text())


def assert_as_undisturbed(found: Results, undisturbed: Results) -> None:
    """Every digit of every score, and every setting."""
    pd.testing.assert_frame_equal(found.table, undisturbed.table, check_exact=True)
    assert found.course == undisturbed.course


def finish(uri: str, *arguments: str) -> int:
    """Repeat the same command until it has finished. Return how often it had to be."""
    for tries in range(1, MOST_TRIES):
        ended = subprocess.run(command("sweep", "pair", *arguments), capture_output=True, text=True, timeout=300)
        if ended.returncode == 0:
            return tries
        assert "Traceback" not in ended.stdout + ended.stderr, ended.stdout + ended.stderr
    raise AssertionError(ended.stdout + ended.stderr)


def assert_each_trial_once(uri: str) -> None:
    """Each trial has one run, which is finished and free, with each step once."""
    client, runs = MlflowClient(uri), trials(uri)
    assert [run.info.status for run in runs] == ["FINISHED"] * len(runs)
    assert len({run.data.tags[Tag.TRIAL_KEY] for run in runs}) == len(runs)
    assert not any(is_leased(run.data.tags) for run in runs)
    for run in runs:
        for name in run.data.metrics:
            steps = [metric.step for metric in client.get_metric_history(run.info.run_id, name)]
            assert len(steps) == len(set(steps)), name


def assert_nothing_is_left(uri: str, started: list[subprocess.Popen[str]]) -> None:
    """Each trial is there once. No process and no folder is left."""
    assert_each_trial_once(uri)
    assert not list(Path("trials").rglob("unsent.json"))
    here = str(Path.cwd())

    def inside(process: Path) -> bool:
        with suppress(OSError):
            return process.name != str(os.getpid()) and (process / "cwd").readlink().is_relative_to(here)
        return False

    until(lambda: not [process for process in Path("/proc").glob("[0-9]*") if inside(process)], seconds=20)
    assert not list(Path(".cache/ray").glob("*")), "Tune's files of a process that is gone"
    assert not [sweep for sweep in started if (runtime_folder() / str(sweep.pid)).exists()], "temporary files"


def phase(sweep: subprocess.Popen[str]) -> str:
    """What a sweep is doing, as far as it can be seen from outside."""
    if trial_processes(sweep):
        if list(Path("trials").rglob(".last.pt.*")) or list(Path("trials").rglob(".previous.pt.*")):
            return "saving"
        return "training" if list(Path("trials").rglob("last.pt")) else "trials start"
    # A sweep that was killed before may have left results.
    if [page for page in Path("results").rglob("index.html") if page.stat().st_mtime > started_at[sweep.pid]]:
        return "tables"
    if processes(sweep, "gcs_server"):
        return "Ray starts"
    return "planning" if Path("mlflow.db").exists() else "start"


def victims(sweep: subprocess.Popen[str], victim: str) -> list[int]:
    """The processes of a sweep that are such a part of it now."""
    names = {"gcs": "gcs_server", "raylet": "raylet/raylet", "worker": "Trainable", "forkserver": "forkserver"}
    return trial_processes(sweep) if victim == "trial" else processes(sweep, names.get(victim, "no such thing"))


def kill(sweep: subprocess.Popen[str], victim: str, rng: random.Random) -> str:
    """Kill a part of a sweep with SIGKILL, or the command if there is no such part now. Return what it was."""
    if victim == "group":
        os.killpg(sweep.pid, signal.SIGKILL)
        return "group"
    found = victims(sweep, victim)
    pid = rng.choice(found) if found else sweep.pid
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return victim if found else "driver"


@contextmanager
def mlflow_server(folder: Path, port: int = 0) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A real MLflow server on loopback, with its records in a folder: its address and its process."""
    if not port:
        with socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    store = f"sqlite:///{folder / 'server.db'}"
    arguments = ["--backend-store-uri", store, "--artifacts-destination", str(folder / "files"), "--workers", "1"]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )
    uri = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(uri))
        yield uri, server
    finally:
        stop_server(server)


def answers(uri: str) -> bool:
    import requests

    with suppress(requests.RequestException):
        return requests.get(f"{uri}/health", timeout=2).ok
    return False


def stop_server(server: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def counted(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(found.items()))


@contextmanager
def ray_cluster(token: str) -> Iterator[tuple[str, list[int]]]:
    """A real Ray cluster on loopback: its address, and the ids of its control service and raylet."""
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--head", "--block", f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=2"]
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:  # short, as Ray's sockets need it
        said = Path(folder, "said.txt")
        started = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", *arguments, f"--temp-dir={folder}"],
            stdout=said.open("w"),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env={**os.environ, **variables, "RAY_USAGE_STATS_ENABLED": "0"},
        )
        try:
            until(lambda: "Ray runtime started" in said.read_text())
            yield f"127.0.0.1:{port}", [*processes(started, "gcs_server"), *processes(started, "raylet/raylet")]
        finally:
            family = descendants(started.pid)
            stop_server(started)
            for pid in family:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
