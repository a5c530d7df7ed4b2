"""What a sweep does when Ray is away or ends under it. Programs of the same names stand for Ray's processes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from socket import socket

import pytest

from pipeline.errors import UserError
from pipeline.orchestration.ray_guard import MOST_STARTS
from pipeline.orchestration.ray_tune import cluster

# Starts a program called gcs_server, and kills it once it is watched.
OWN = """
import os, pathlib, signal, subprocess, sys, threading
from pipeline.orchestration import ray_guard
ray_guard.SECONDS_APART = 0.05
gcs = subprocess.Popen([sys.argv[1], "600"])
while pathlib.Path(f"/proc/{gcs.pid}/comm").read_text() != "gcs_server\\n":
    pass
with pathlib.Path("starts.txt").open("a") as file:
    print(gcs.pid, file=file)
with ray_guard.guarded("/no/server", "127.0.0.1:" + sys.argv[2], own=True):
    os.kill(gcs.pid, signal.SIGKILL)
    threading.Event().wait()
"""
JOINED = """
import sys, threading
from pipeline.orchestration import ray_guard
ray_guard.SECONDS_APART = 0.05
with ray_guard.guarded("/no/server", "127.0.0.1:" + sys.argv[1], own=False):
    print("watching", flush=True)
    threading.Event().wait()
"""


def start(folder: Path, code: str, *arguments: str) -> subprocess.Popen[str]:
    (folder / "script.py").write_text(code)
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, "script.py", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
    )


def test_a_sweep_starts_anew_when_its_own_ray_ends_but_not_for_ever(tmp_path: Path) -> None:
    program = tmp_path / "gcs_server"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    with socket() as answering:
        answering.bind(("127.0.0.1", 0))
        answering.listen(1000)
        sweep = start(tmp_path, OWN, str(program), str(answering.getsockname()[1]))
        _, errors = sweep.communicate(timeout=120)
    assert sweep.returncode == 2, errors
    assert len((tmp_path / "starts.txt").read_text().split()) == 1 + MOST_STARTS, errors
    assert errors.count("Starting Ray anew") == MOST_STARTS
    assert "run the same command to resume" in errors.splitlines()[-1]


def test_a_cluster_that_is_away_is_named_before_ray_looks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9 does not answer"), cluster(1, 0, 1.0):
        pass


def test_a_joined_cluster_that_ends_is_named_in_one_line(tmp_path: Path) -> None:
    with socket() as service:
        service.bind(("127.0.0.1", 0))
        service.listen(1000)
        port = service.getsockname()[1]
        sweep = start(tmp_path, JOINED, str(port))
        assert sweep.stdout and sweep.stdout.readline() == "watching\n"
    _, errors = sweep.communicate(timeout=120)
    assert sweep.returncode == 2
    (line,) = errors.strip().splitlines()
    assert f"127.0.0.1:{port}" in line and "same command" in line
