"""What a sweep does when Ray is away or ends under it. Programs of the same names stand for Ray's processes."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import AF_INET, AF_INET6, socket

import pytest

from pipeline.cluster import ray_guard
from pipeline.cluster.code_bundle import CodeBundle
from pipeline.cluster.ray_cluster import joined_cluster
from pipeline.cluster.ray_guard import (
    MOST_REFUSALS,
    MOST_STARTS,
    _answers,
    _descendants,
    _ray_processes,
    _runs,
    guarded,
)
from pipeline.errors import UserError

# Starts a program called raylet with a child, and one called gcs_server, which it kills once it is watched.
OWN = """
import os, pathlib, signal, subprocess, sys, threading
from subprocess import DEVNULL, PIPE
from pipeline.cluster import ray_guard
ray_guard.SECONDS_APART = 0.05
program = pathlib.Path(sys.argv[1])
raylet = subprocess.Popen([program.with_name("raylet"), "-c", "sleep 60 & echo $!; wait"], stdout=PIPE, stderr=DEVNULL)
worker = raylet.stdout.readline().decode().strip()
gcs = subprocess.Popen([program, "600"])
while pathlib.Path(f"/proc/{gcs.pid}/comm").read_text() != "gcs_server\\n":
    pass
with pathlib.Path("starts.txt").open("a") as file:
    print(raylet.pid, worker, file=file)
with ray_guard.guarded("/no/server", "127.0.0.1:" + sys.argv[2], own=True):
    os.kill(gcs.pid, signal.SIGKILL)
    threading.Event().wait()
"""
JOINED = """
import sys, threading
from pipeline.cluster import ray_guard
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
    shutil.copy(shutil.which("sh") or "/bin/sh", tmp_path / "raylet")
    with socket() as answering:
        answering.bind(("127.0.0.1", 0))
        answering.listen(1000)
        sweep = start(tmp_path, OWN, str(program), str(answering.getsockname()[1]))
        _, errors = sweep.communicate(timeout=120)
    assert sweep.returncode == 2, errors
    family = [[int(pid) for pid in line.split()] for line in (tmp_path / "starts.txt").read_text().splitlines()]
    assert len(family) == 1 + MOST_STARTS, errors
    for pid in family.pop():  # of the last start, which the real Ray would end by itself
        os.kill(pid, signal.SIGKILL)
    assert [pid for pids in family for pid in pids if _runs(pid)] == []
    assert errors.count("Starting Ray anew") == MOST_STARTS
    assert "run the same command to resume" in errors.splitlines()[-1]


def test_a_cluster_that_is_away_is_named_before_ray_looks_for_it() -> None:
    joining = joined_cluster("RAY_ADDRESS=127.0.0.1:9", CodeBundle(Path(), ""))
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9 does not answer"), joining:
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


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the guard ended. Nothing ends here: the guard is told so by an exception."""
    ends: list[str] = []

    def end(what: str, *_: object) -> None:
        ends.append(what)
        raise SystemExit

    monkeypatch.setattr(ray_guard, "_end", end)
    monkeypatch.setattr(ray_guard, "_start_anew", end)
    monkeypatch.setattr(ray_guard, "SECONDS_APART", 0.01)
    return ends


def answering(monkeypatch: pytest.MonkeyPatch, answers: Iterator[bool]) -> threading.Event:
    """Let the service answer like this, and then always. Return what is set when it does."""
    all_given = threading.Event()

    def answer(_: str) -> bool:
        for given in answers:
            return given
        all_given.set()
        return True

    monkeypatch.setattr(ray_guard, "_answers", answer)
    return all_given


def test_a_service_that_is_busy_for_a_moment_has_not_ended(monkeypatch: pytest.MonkeyPatch, ended: list[str]) -> None:
    few = [False] * (MOST_REFUSALS - 1)
    all_given = answering(monkeypatch, iter([*few, True, *few]))
    with guarded("/no/server", "127.0.0.1:1", own=False):
        assert all_given.wait(60)
    assert ended == []


def test_a_service_that_refuses_several_times_has_ended(monkeypatch: pytest.MonkeyPatch, ended: list[str]) -> None:
    asked_to_save = threading.Event()
    monkeypatch.setattr(ray_guard, "save_trials", lambda _: asked_to_save.set())
    answering(monkeypatch, iter([False] * MOST_REFUSALS))
    with guarded("/no/server", "127.0.0.1:1", own=False):
        assert asked_to_save.wait(60)
    assert ended == ["127.0.0.1:1"]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start a program of this name that sleeps."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> subprocess.Popen[bytes]:
        shutil.copy(shutil.which("sleep") or "/bin/sleep", tmp_path / name)
        started.append(subprocess.Popen([tmp_path / name, "600"]))
        while Path(f"/proc/{started[-1].pid}/comm").read_text().strip() != name:
            pass
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_an_error_of_the_sweep_is_its_own_while_ray_runs_and_ray_s_when_it_has_ended(
    monkeypatch: pytest.MonkeyPatch, ended: list[str], program: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    answering(monkeypatch, iter([]))
    monkeypatch.setattr(ray_guard, "SECONDS_APART", 600)  # the driver notices first
    raylet = program("raylet")
    with pytest.raises(ValueError, match="of the sweep"), guarded("/no/server", "127.0.0.1:1", own=True):
        raise ValueError("of the sweep")
    with pytest.raises(SystemExit), guarded("/no/server", "127.0.0.1:1", own=True):
        raylet.kill()
        while _runs(raylet.pid):
            pass
        raise ValueError("Ray does not answer")
    assert ended == ["raylet"]


def test_ray_s_processes_are_known_by_their_names_and_only_while_they_run(
    program: Callable[[str], subprocess.Popen[bytes]],
) -> None:
    raylet, service, another = program("raylet"), program("gcs_server"), program("another")
    before = _ray_processes()
    assert (before[raylet.pid], before[service.pid]) == ("raylet", "gcs_server")
    assert another.pid not in before
    raylet.kill()
    while _runs(raylet.pid):  # it stays a zombie, since nobody has asked how it ended
        pass
    assert Path(f"/proc/{raylet.pid}").exists()
    assert service.pid in (after := _ray_processes()) and raylet.pid not in after
    raylet.wait()
    assert not _runs(raylet.pid)


def test_descendants_are_found_through_all_generations() -> None:
    shell = subprocess.Popen(["sh", "-c", "sh -c 'sleep 60 & echo $!; wait' & echo $!; wait"], stdout=subprocess.PIPE)
    assert shell.stdout
    below = {int(shell.stdout.readline()), int(shell.stdout.readline())}
    assert _descendants(shell.pid) == below <= _descendants(os.getpid())
    for pid in (shell.pid, *below):
        os.kill(pid, signal.SIGKILL)
    shell.wait()
    assert _descendants(shell.pid) == set()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_service_answers_while_it_listens(host: str) -> None:
    family = AF_INET6 if ":" in host else AF_INET
    with socket(family) as service:
        try:
            service.bind((host.strip("[]"), 0))
        except OSError:
            pytest.skip("this machine has no such address")
        address = f"{host}:{service.getsockname()[1]}"
        assert not _answers(address)
        service.listen()
        assert _answers(address)
    assert not _answers(address)
