"""Further processes of a trial: why they end is known, and none outlives the trial's own process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import stub_further

from pipeline.errors import UserError
from pipeline.hardware.memory import is_out_of_memory
from pipeline.parallel import processes as module
from pipeline.parallel.group import GroupError
from pipeline.parallel.processes import LostProcessError, further_processes
from pipeline.processes import start_of
from pipeline.signals import ENDING

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def stubs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let further processes import the stubs by name."""
    monkeypatch.setenv("PYTHONPATH", str(Path(stub_further.__file__).parent), prepend=os.pathsep)


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 30
    while start_of(pid) != -1 and time.monotonic() < deadline:
        time.sleep(0.05)
    return start_of(pid) == -1


def end_of(kind: str) -> Exception:
    """What is raised here after a further process has ended in a way, and this one has noticed it."""
    with pytest.raises(Exception) as caught, further_processes(stub_further.fail, [(kind,)], [{}]) as further:
        further.wait_until_ready(1)
        raise GroupError("connection closed by peer")
    return caught.value


def test_the_end_of_a_further_process_says_why_the_trial_ends() -> None:
    memory, user, own, killed = (end_of(kind) for kind in ("memory", "user", "own", "killed"))
    assert is_out_of_memory(memory)
    assert (type(user), str(user)) == (UserError, "mine.py, line 3: wrong")
    assert (type(own), str(own)) == (RuntimeError, "Process 2 of 2 of the trial: ValueError: no such thing")
    assert type(killed) is LostProcessError and "ended by signal 9" in str(killed)


@pytest.mark.slow
def test_who_only_waited_for_the_process_that_ended_is_not_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_TO_NOTICE", 0.2)
    lost = end_of("waited")
    assert type(lost) is LostProcessError and "did not answer (connection closed by peer)" in str(lost)


def test_a_process_that_cannot_start_its_work_is_an_error_of_the_trial() -> None:
    with (
        pytest.raises(RuntimeError, match="Process 2 of 2 of the trial: ValueError: no such file"),
        further_processes(stub_further.never_ready, [()], [{}]) as further,
    ):
        further.wait_until_ready(1)


@pytest.mark.slow
def test_a_process_that_is_not_ready_in_time_is_lost() -> None:
    with (
        pytest.raises(LostProcessError, match="was not ready after 0 minutes"),
        further_processes(stub_further.never_ready, [()], [{}]) as further,
    ):
        further.wait_until_ready(0)


def test_no_signal_that_asks_for_an_end_ends_a_further_process_and_the_body_does(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in ENDING]
    with further_processes(stub_further.tell_and_wait, [(str(tmp_path / "pid"),)], [{}]) as further:
        assert [signal.getsignal(number) for number in ENDING] == before
        further.wait_until_ready(1)
        pid = int((tmp_path / "pid").read_text())
        for number in ENDING:
            os.kill(pid, number)
        time.sleep(0.2)
        os.kill(pid, 0)
    assert is_gone(pid)


SCRIPT = """
import sys, time, stub_further
from pipeline.parallel import processes
processes.SECONDS_TO_NOTICE = 0.5
with processes.further_processes(stub_further.tell_and_wait, [(sys.argv[1],)], [{}]) as further:
    further.wait_until_ready(1)
    print("ready", flush=True)
    time.sleep(60)
"""


def started(file: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(file)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


def test_a_further_process_ends_with_the_trials_own_process_however_that_ends(tmp_path: Path) -> None:
    process = started(tmp_path / "pid")
    process.kill()
    process.communicate()
    assert is_gone(int((tmp_path / "pid").read_text()))


@pytest.mark.slow
def test_who_waits_for_a_process_that_has_ended_does_not_wait_for_ever(tmp_path: Path) -> None:
    """As a GPU does."""
    process = started(tmp_path / "pid")
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors == "error: Process 2 of 2 of the trial ended by signal 9 (Killed).\n"


def test_an_exchange_with_a_process_that_has_ended_fails_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    with (
        pytest.raises(LostProcessError, match="ended by signal 9"),
        further_processes(stub_further.exchange, [(str(tmp_path), 1)], [{}]) as further,
    ):
        further.wait_until_ready(1)
        stub_further.exchange(str(tmp_path), 0)
    assert time.monotonic() - began < 30
