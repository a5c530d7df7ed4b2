"""How the end of a trial is told to the sweep, and how trials are made to end."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stub_trials
import torch
from test_process import is_gone, outcome_of, pid_in

from pipeline.environment import process_folder
from pipeline.errors import UserError
from pipeline.hardware.share import Share
from pipeline.parallel.processes import LostProcessError
from pipeline.signals import ENDING
from pipeline.training.checkpoint import StorageError
from pipeline.trial import server as module
from pipeline.trial.job import Outcome, TrialJob
from pipeline.trial.lock import TakenError
from pipeline.trial.process import OUTPUT_BYTES, TrialProcess, last_output, save_trials, train
from pipeline.trial.run import EndedElsewhereError, InterruptedTrialError, StopRequestedError
from pipeline.trial.server import trial_server


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Outcome]]:
    """Train a job in this process. What stands for the trial yields its progress, raises, or returns."""
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    before = signal.getsignal(signal.SIGTERM)

    def run(trial: Callable[..., Iterator[Any]], report: Callable[[Any], None] = print) -> Outcome:
        monkeypatch.setattr("pipeline.trial.run.run_trial", trial)
        return train(job_in(tmp_path / "key"), report)

    yield run
    signal.signal(signal.SIGTERM, before)


def job_in(folder: Path) -> TrialJob:
    """A job of which only the folder matters."""
    config: Any = None
    return TrialJob(config, "key", "run", "data", str(folder / "last.pt"), str(folder), "", Share(1, 0.0, 1.0, 1))


def full() -> StorageError:
    error = StorageError("No space left on device: last.pt")
    error.__cause__ = OSError(28, "No space left on device")
    return error


@pytest.mark.parametrize(
    ("error", "ending", "said"),
    [
        (InterruptedTrialError("Saved at step 3 of 12."), "interrupted", "Saved at step 3 of 12."),
        (StopRequestedError("Saved at step 3 of 12."), "requested", "Saved at step 3 of 12."),
        (LostProcessError("Process 2 of 2 of the trial ended."), "lost", "Process 2 of 2"),
        (TakenError("Trial key is running in another process."), "taken", "another process"),
        (EndedElsewhereError("FINISHED"), "done", "another process"),
        (EndedElsewhereError("KILLED"), "stopped", "another process"),
        (EndedElsewhereError("FAILED"), "failed", "another process"),
        (full(), "interrupted", "No space left on device"),
        (OSError(5, "Input/output error"), "interrupted", "Input/output error"),
        (
            torch.OutOfMemoryError("CUDA out of memory."),
            "memory",
            "OutOfMemoryError: CUDA out of memory. (test_endings",
        ),
        (UserError("The training diverged."), "failed", "The training diverged."),
        (RuntimeError("no such thing"), "failed", "RuntimeError: no such thing (test_endings.py, line"),
    ],
    ids=lambda value: repr(value) if isinstance(value, Exception) else "",
)
def test_each_error_of_a_trial_is_its_own_ending(
    trained: Callable[..., Outcome], error: Exception, ending: str, said: str
) -> None:
    def fail(*_: object) -> Iterator[Any]:
        raise error
        yield

    outcome = trained(fail)
    assert (outcome.ending, said in outcome.reason) == (ending, True), outcome


def test_a_trial_reports_and_learns_that_it_is_asked_to_save(trained: Callable[..., Outcome]) -> None:
    def trial(_: object, asked_to_stop: Callable[[], bool], *_more: float) -> Iterator[str]:
        yield f"asked: {asked_to_stop()}"
        signal.raise_signal(signal.SIGTERM)
        yield f"asked: {asked_to_stop()}"

    reported: list[str] = []
    assert trained(trial, reported.append) == Outcome("done")
    assert reported == ["asked: False", "asked: True"]


def test_the_last_line_of_a_trials_output_is_told_with_its_place(
    tmp_path: Path,
) -> None:
    job = job_in(tmp_path)
    assert last_output(job) == ""
    file = tmp_path / "output.txt"
    file.write_bytes(b"\n \n")
    assert last_output(job) == ""
    file.write_bytes(b"first\n" + b"x" * 2 * OUTPUT_BYTES + b"\n  CUDA error \xff \n\n")
    assert last_output(job) == f" Its last output, in {file}: CUDA error �"


def test_saving_has_ended_all_trials_when_it_returns(tmp_path: Path) -> None:
    with trial_server() as server:
        files = [tmp_path / name for name in "ab"]
        processes = [TrialProcess(server, stub_trials.savable, file) for file in files]  # pyright: ignore[reportArgumentType]
        pids = [pid_in(file) for file in files]
        save_trials(server)
        assert [file.read_text() for file in files] == ["saved", "saved"]
        assert [Path(f"/proc/{pid}").exists() for pid in pids] == [False, False]
        assert [outcome_of(process) for process in processes] == [Outcome("interrupted", "saved")] * 2
        save_trials(server)  # none runs any more
    save_trials(server)  # nor does the server


def test_a_trial_that_does_not_save_in_time_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_TO_SAVE", 0.2)
    with trial_server() as server:
        process = TrialProcess(server, stub_trials.stubborn, tmp_path / "pid")  # pyright: ignore[reportArgumentType]
        pid = pid_in(tmp_path / "pid")
        save_trials(server)
        assert is_gone(pid)
        outcome = outcome_of(process)
        assert (outcome.ending, "signal 9" in outcome.reason) == ("lost", True)


def test_the_socket_is_where_the_next_sweep_clears_it_and_signals_reach_the_sweep() -> None:
    before = [signal.getsignal(number) for number in ENDING]
    with trial_server() as server:
        folder = Path(server).parent
        assert folder.parent == process_folder()
        assert [signal.getsignal(number) for number in ENDING] == before
    assert not folder.exists()
