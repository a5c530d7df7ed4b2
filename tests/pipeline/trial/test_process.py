"""Trials in processes of their own: what is told, and who ends with whom."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import stub_trials

from pipeline.trial.job import Outcome, Progress
from pipeline.trial.process import TrialProcess, forked_nursery, spawned_nursery

JOB = '{"config": "{\\"seed\\": 7}"}'


@pytest.fixture(scope="module")
def nursery() -> Iterator[str]:
    with forked_nursery() as address:
        yield address


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_progress_and_outcome_are_told_in_order(nursery: str) -> None:
    process = TrialProcess(nursery, stub_trials.steady, JOB)
    told = [process.receive() for _ in range(4)]
    assert [message.epoch for message in told if isinstance(message, Progress)] == [1, 2, 3]
    assert told[-1] == Outcome("done")
    process.stop()


def test_each_trial_has_a_process_and_the_environment_of_who_asked(
    nursery: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons: list[str] = []
    for device in ("0", "3"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", device)
        process = TrialProcess(nursery, stub_trials.surroundings, JOB)
        outcome = process.receive()
        assert isinstance(outcome, Outcome)
        reasons.append(outcome.reason)
    assert [reason.split()[0] for reason in reasons] == ["0", "3"]
    assert reasons[0].split()[1] != reasons[1].split()[1] != str(os.getpid())


def test_a_process_that_is_killed_has_an_outcome_that_says_so(nursery: str) -> None:
    outcome = TrialProcess(nursery, stub_trials.killed, JOB).receive()
    assert isinstance(outcome, Outcome)
    assert (outcome.ending, "signal 9" in outcome.reason) == ("died", True)


def test_a_process_that_leaves_without_a_word_has_an_outcome_that_says_so(nursery: str) -> None:
    assert TrialProcess(nursery, stub_trials.speechless, JOB).receive() == Outcome(
        "died", "its process ended without a word (exit code 3)"
    )


def pid_in(file: Path) -> int:
    deadline = time.monotonic() + 10
    while not (file.exists() and file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return int(file.read_text())


def test_a_stopped_trial_is_gone(nursery: str, tmp_path: Path) -> None:
    process = TrialProcess(nursery, stub_trials.endless, str(tmp_path / "pid"))
    pid = pid_in(tmp_path / "pid")
    process.stop()
    assert is_gone(pid)


def test_trials_end_with_the_process_that_asked_for_them(nursery: str, tmp_path: Path) -> None:
    code = f"""
import stub_trials
from pipeline.trial.process import TrialProcess
TrialProcess({nursery!r}, stub_trials.endless, {str(tmp_path / "pid")!r}).receive()
"""
    asking = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    pid = pid_in(tmp_path / "pid")
    asking.send_signal(signal.SIGKILL)
    asking.wait()
    assert is_gone(pid)


def test_a_spawned_nursery_serves_alike_and_ends_with_its_maker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    with spawned_nursery() as address:
        process = TrialProcess(address, stub_trials.steady, JOB)
        assert isinstance(process.receive(), Progress)
        process.stop()
    assert not Path(address).exists()


def test_an_asker_that_leaves_at_once_harms_no_other(nursery: str) -> None:
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as leaving:
            leaving.connect(nursery)
    process = TrialProcess(nursery, stub_trials.steady, JOB)
    assert isinstance(process.receive(), Progress)
    process.stop()


def test_stopping_what_has_ended_by_itself_is_nothing(nursery: str) -> None:
    process = TrialProcess(nursery, stub_trials.killed, JOB)
    time.sleep(0.5)
    process.stop()
    process = TrialProcess(nursery, stub_trials.steady, JOB)
    time.sleep(0.5)
    process.stop()


def test_without_its_nursery_a_new_trial_has_an_outcome_or_is_refused(tmp_path: Path) -> None:
    with forked_nursery() as address:
        process = TrialProcess(address, stub_trials.endless, str(tmp_path / "pid"))
        pid = pid_in(tmp_path / "pid")
        os.kill(parent_of(pid), signal.SIGKILL)
        try:
            outcome = TrialProcess(address, stub_trials.steady, JOB).receive()
        except OSError:
            pass  # nobody listens any more
        else:
            assert outcome == Outcome("died", "the process that forks trials is gone")
        process.stop()
    assert is_gone(pid)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
