"""Trials in their own processes: what they report, what they see, and what ends them."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest
import stub_trials
from stub_trials import JOB

from pipeline.trial.job import Outcome, Progress
from pipeline.trial.process import TrialProcess, save_trials
from pipeline.trial.server import trial_server


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with trial_server() as address:
        yield address


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def pid_in(file: Path) -> int:
    deadline = time.monotonic() + 60
    while not (file.exists() and file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return int(file.read_text())


def outcome_of(process: TrialProcess) -> Outcome:
    while not isinstance(message := process.receive(), Outcome):
        pass
    return message


# Stubs need none of the imports that a trial needs.
NO_PRELOAD = """
import pathlib
import stub_trials
from pipeline.trial import server as module
from pipeline.trial.process import TrialProcess
from pipeline.trial.server import trial_server
module.PRELOAD.clear()
"""


def start_python(code: str, **options: int) -> subprocess.Popen[str]:
    """Start a process that finds the stubs."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, text=True, **options)


def test_progress_and_outcome_arrive_in_order(server: str) -> None:
    process = TrialProcess(server, stub_trials.steady, JOB)
    messages = [process.receive() for _ in range(4)]
    assert [message.epoch for message in messages if isinstance(message, Progress)] == [1, 2, 3]
    assert messages[-1] == Outcome("done")
    process.stop()


def test_each_trial_has_its_own_process_and_the_environment_of_its_worker(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons: list[str] = []
    for device in ("0", "3"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", device)
        reasons.append(outcome_of(TrialProcess(server, stub_trials.surroundings, JOB)).reason)
    assert [reason.split()[0] for reason in reasons] == ["0", "3"]
    pids = {int(reason.split()[1]) for reason in reasons}
    assert len(pids | {os.getpid()}) == 3


def test_a_trial_starts_with_all_imports_done(server: str) -> None:
    assert outcome_of(TrialProcess(server, stub_trials.imports, JOB)) == Outcome("done", "all")


def test_a_trial_that_sends_nothing_for_too_long_is_killed(server: str, tmp_path: Path) -> None:
    process = TrialProcess(server, stub_trials.endless, tmp_path / "pid")  # pyright: ignore[reportArgumentType]
    stuck = pid_in(tmp_path / "pid")
    assert process.receive(0.1) == Outcome("lost", "It made no progress")
    assert is_gone(stuck)


def test_all_trials_are_asked_to_save_and_none_starts_any_more(tmp_path: Path) -> None:
    with trial_server() as server:
        processes = [
            TrialProcess(server, stub_trials.savable, tmp_path / name)  # pyright: ignore[reportArgumentType]
            for name in "ab"
        ]
        for name in "ab":
            pid_in(tmp_path / name)
        save_trials(server)
        assert [outcome_of(process).reason for process in processes] == ["saved", "saved"]
        late = TrialProcess(server, stub_trials.steady, JOB)
        assert outcome_of(late).ending == "lost"


def test_a_trial_that_loses_its_worker_saves_too(server: str, tmp_path: Path) -> None:
    process = TrialProcess(server, stub_trials.savable, tmp_path / "pid")  # pyright: ignore[reportArgumentType]
    orphan = pid_in(tmp_path / "pid")
    process._messages.close()  # pyright: ignore[reportPrivateUsage]
    assert is_gone(orphan)
    assert (tmp_path / "pid").read_text() == "saved"


def test_a_killed_trial_is_reported_with_its_signal(server: str) -> None:
    outcome = outcome_of(TrialProcess(server, stub_trials.killed, JOB))
    assert (outcome.ending, "signal 9" in outcome.reason) == ("lost", True)


def test_trials_that_the_system_killed_for_their_memory_ran_out_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if both kills were counted when the first trial is cleared up."""
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("oom_kill 0")
    monkeypatch.setattr("pipeline.hardware.control_groups.VMSTAT", vmstat)
    monkeypatch.setattr("pipeline.trial.server.own_groups", list)
    with trial_server() as server:
        processes = [
            TrialProcess(server, stub_trials.endless, tmp_path / name)  # pyright: ignore[reportArgumentType]
            for name in "ab"
        ]
        victims = [pid_in(tmp_path / name) for name in "ab"]
        vmstat.write_text("oom_kill 2")
        for process, victim in zip(processes, victims, strict=True):
            os.kill(victim, signal.SIGKILL)
            assert outcome_of(process).ending == "memory"


def test_a_trial_without_an_outcome_is_reported_with_its_exit_code(server: str) -> None:
    outcome = outcome_of(TrialProcess(server, stub_trials.silent, JOB))
    assert (outcome.ending, "code 3" in outcome.reason) == ("lost", True)


def test_an_exception_in_a_trial_is_its_outcome_and_is_printed(tmp_path: Path) -> None:
    code = f"""{NO_PRELOAD}
with trial_server() as server:
    print(TrialProcess(server, stub_trials.faulty, stub_trials.JOB).receive())
"""
    output, errors = start_python(code, stdout=subprocess.PIPE, stderr=subprocess.PIPE).communicate(timeout=120)
    assert "failed" in output and "ValueError: no such thing" in output
    assert "Traceback" in errors and "ValueError: no such thing" in errors


def test_what_a_trial_cannot_unpickle_is_its_outcome(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(job: object, report: object) -> Outcome:
        return Outcome("done")

    missing.__qualname__, missing.__module__ = "missing", "only_here"
    only_here = type(sys)("only_here")
    only_here.missing = missing  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "only_here", only_here)
    outcome = outcome_of(TrialProcess(server, missing, JOB))
    assert outcome.ending == "failed" and "ModuleNotFoundError" in outcome.reason and "only_here" in outcome.reason


def test_a_stopped_trial_is_gone(server: str, tmp_path: Path) -> None:
    process = TrialProcess(server, stub_trials.endless, tmp_path / "pid")
    pid = pid_in(tmp_path / "pid")
    process.stop()
    assert is_gone(pid)


def test_a_trial_ends_with_its_worker(server: str, tmp_path: Path) -> None:
    worker = start_python(f"""
import pathlib
import stub_trials
from pipeline.trial.process import TrialProcess
TrialProcess({server!r}, stub_trials.endless, pathlib.Path({str(tmp_path / "pid")!r})).receive()
""")
    pid = pid_in(tmp_path / "pid")
    worker.kill()
    worker.wait()
    assert is_gone(pid)


def test_a_trial_ends_with_the_process_that_serves(tmp_path: Path) -> None:
    serving = start_python(f"""{NO_PRELOAD}
with trial_server() as server:
    TrialProcess(server, stub_trials.endless, pathlib.Path({str(tmp_path / "pid")!r})).receive()
""")
    pid = pid_in(tmp_path / "pid")
    serving.kill()
    serving.wait()
    assert is_gone(pid)


def test_a_trial_on_another_node_saves_when_its_worker_is_killed(tmp_path: Path) -> None:
    serving = start_python(f"""{NO_PRELOAD}
with trial_server(20.0) as server:
    TrialProcess(server, stub_trials.savable, pathlib.Path({str(tmp_path / "file")!r})).receive()
""")
    pid = pid_in(tmp_path / "file")
    serving.kill()
    serving.wait()
    assert is_gone(pid)
    assert (tmp_path / "file").read_text() == "saved"


def test_a_trial_on_another_node_that_does_not_save_ends_soon_after_its_worker(tmp_path: Path) -> None:
    serving = start_python(f"""{NO_PRELOAD}
with trial_server(0.5) as server:
    TrialProcess(server, stub_trials.stubborn, pathlib.Path({str(tmp_path / "file")!r})).receive()
""")
    pid = pid_in(tmp_path / "file")
    serving.kill()
    serving.wait()
    assert is_gone(pid)


@pytest.mark.slow
def test_ctrl_c_reaches_neither_the_imports_nor_a_trial() -> None:
    code = """
import os, signal
import stub_trials
from pipeline.trial.process import TrialProcess
from pipeline.trial.server import trial_server
with trial_server() as server:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.killpg(0, signal.SIGINT)
    process = TrialProcess(server, stub_trials.patient, "")
    print(process.receive().epoch)
    os.killpg(0, signal.SIGINT)
    print(process.receive().ending)
"""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    output, errors = start_python(code, start_new_session=True, **pipes).communicate(timeout=120)
    assert output.split() == ["1", "done"]
    assert errors == ""


def test_at_the_end_of_the_server_its_trials_are_gone(tmp_path: Path) -> None:
    with trial_server() as address:
        process = TrialProcess(address, stub_trials.endless, tmp_path / "pid")
        pid = pid_in(tmp_path / "pid")
    assert is_gone(pid)
    assert not Path(address).exists()
    assert outcome_of(process).ending == "lost"
    with pytest.raises(OSError):
        TrialProcess(address, stub_trials.steady, JOB)


def test_a_killed_fork_server_ends_its_trials_and_is_started_again(tmp_path: Path) -> None:
    code = f"""{NO_PRELOAD}
from multiprocessing import forkserver
import os, signal, time
file = pathlib.Path({str(tmp_path / "pid")!r})
with trial_server() as server:
    trial = TrialProcess(server, stub_trials.endless, file)
    while not (file.exists() and file.read_text()):
        time.sleep(0.02)
    os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
    print(trial.receive().ending)
    trial = TrialProcess(server, stub_trials.steady, stub_trials.JOB)
    print([trial.receive() for _ in range(4)][-1].ending)
"""
    output, _ = start_python(code, stdout=subprocess.PIPE).communicate(timeout=120)
    assert output.split() == ["lost", "done"]
    assert is_gone(pid_in(tmp_path / "pid"))


def test_a_failed_start_is_an_outcome_and_the_server_goes_on(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError("too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(forkserver, "connect_to_new_process", refuse)
        outcome = outcome_of(TrialProcess(server, stub_trials.steady, JOB))
    assert outcome.ending == "lost" and "too many open files" in outcome.reason
    assert outcome_of(TrialProcess(server, stub_trials.steady, JOB)) == Outcome("done")


def test_a_worker_that_leaves_at_once_harms_no_other(server: str) -> None:
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as leaving:
            leaving.connect(server)
    process = TrialProcess(server, stub_trials.steady, JOB)
    assert isinstance(process.receive(), Progress)
    process.stop()


def test_a_trial_that_has_ended_can_be_stopped(server: str) -> None:
    for target in (stub_trials.killed, stub_trials.steady):
        process = TrialProcess(server, target, JOB)
        outcome_of(process)
        process.stop()


def test_the_server_leaves_no_thread_and_no_process() -> None:
    before = threading.active_count()
    with trial_server() as address:
        outcome_of(TrialProcess(address, stub_trials.steady, JOB))
    assert threading.active_count() == before
    assert multiprocessing.active_children() == []
