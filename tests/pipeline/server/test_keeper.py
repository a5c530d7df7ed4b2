"""A server and its workers end with the command that started them, however that ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pipeline.server import keeper

# A server with a worker. Both listen to no signal but SIGKILL, and the worker outlives its parent.
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.fork()
with open(sys.argv[1], "a") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(60)
"""
# Starts the keeper as a command does, says so, and waits.
COMMAND = """
import subprocess, sys, time
keeper = subprocess.Popen([sys.executable, "-P", *sys.argv[1:]], stdin=subprocess.PIPE, start_new_session=True)
print(keeper.pid, flush=True)
time.sleep(60)
"""


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until_none_lives(pids: list[int], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while [pid for pid in pids if lives(pid)]:
        assert time.monotonic() < deadline, "a process is left"
        time.sleep(0.02)


def started(file: Path) -> list[int]:
    deadline = time.monotonic() + 10
    while not file.exists() or len(file.read_text().split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return [int(pid) for pid in file.read_text().split()]


def test_a_command_that_is_killed_takes_the_server_and_its_workers_with_it(tmp_path: Path) -> None:
    kept = [str(keeper.__file__), "0.2", sys.executable, "-c", STUBBORN, str(tmp_path / "pids")]
    command = subprocess.Popen([sys.executable, "-c", COMMAND, *kept], stdout=subprocess.PIPE, text=True)
    assert command.stdout is not None
    family = [int(command.stdout.readline()), *started(tmp_path / "pids")]
    assert all(map(lives, family))
    command.kill()
    command.communicate()
    until_none_lives(family)


def test_a_server_that_ends_by_itself_ends_its_keeper_with_its_exit_code() -> None:
    server = [sys.executable, "-c", "raise SystemExit(3)"]
    kept = subprocess.Popen(
        [sys.executable, "-P", keeper.__file__, "5", *server], stdin=subprocess.PIPE, start_new_session=True
    )
    assert kept.wait(10) == 3
    assert kept.stdin is not None
    kept.stdin.close()


def test_a_server_that_is_killed_leaves_no_worker_that_listens_to_signals(tmp_path: Path) -> None:
    willing = STUBBORN.replace("signal.SIG_IGN", "signal.SIG_DFL")
    kept = subprocess.Popen(
        [sys.executable, "-P", keeper.__file__, "5", sys.executable, "-c", willing, str(tmp_path / "pids")],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    family = started(tmp_path / "pids")
    (server,) = Path(f"/proc/{kept.pid}/task/{kept.pid}/children").read_text().split()
    os.kill(int(server), signal.SIGKILL)
    with kept:
        assert kept.wait(10) == 256 - signal.SIGKILL
    until_none_lives(family)
