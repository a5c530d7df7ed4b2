"""A trial that is asked to end by a file in its folder saves and ends, or does not start."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from trial_jobs import history, job_of, read

from pipeline.config.schema import Config
from pipeline.training.checkpoint import load_checkpoint
from pipeline.trial import stop_request as module
from pipeline.trial.job import Outcome, TrialJob
from pipeline.trial.process import TrialProcess, train
from pipeline.trial.run import StopRequestedError, run_trial
from pipeline.trial.server import trial_server
from pipeline.trial.stop_request import request_stop, stop_requested, watch_for_stop, withdraw_stop


def folder_of(job: TrialJob) -> Path:
    return Path(job.checkpoint).parent


def test_a_trial_whose_folder_has_a_request_writes_nothing(project: Path, tiny: Callable[..., Config]) -> None:
    job = job_of(tiny())
    before = read(job).to_dictionary()
    request_stop(folder_of(job))
    with pytest.raises(StopRequestedError):
        list(run_trial(job))
    assert [file.name for file in folder_of(job).iterdir()] == [module.STOP_FILE]
    assert read(job).to_dictionary() == before


def test_a_trial_that_is_requested_to_stop_saves_its_step_and_goes_on_from_it(
    project: Path, tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LOOKS", 0.0)
    whole, stopped = job_of(tiny("paths.trials=whole"), "whole"), job_of(tiny("paths.trials=stopped"), "stopped")
    list(run_trial(whole))
    trial = run_trial(stopped)
    assert next(trial).step == 4
    request_stop(folder_of(stopped))
    with pytest.raises(StopRequestedError, match="step 5 of 12"):
        list(trial)
    assert read(stopped).info.status == "RUNNING"
    assert load_checkpoint(Path(stopped.checkpoint))["step"] == 5
    withdraw_stop(folder_of(stopped))
    list(run_trial(stopped))
    assert "cost/steps_repeated" not in read(stopped).data.metrics
    scores = [name for name in history(whole) if name.startswith("eval/")]
    assert [history(stopped)[name] for name in scores] == [history(whole)[name] for name in scores]
    weights = [load_checkpoint(Path(job.checkpoint))["objective"] for job in (whole, stopped)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_request_ends_a_trials_process_as_requested(project: Path, tiny: Callable[..., Config]) -> None:
    job = job_of(tiny())
    request_stop(folder_of(job))
    with trial_server() as server:
        assert TrialProcess(server, train, job).receive() == Outcome("requested", "Not started.")


def test_a_request_stays_until_it_is_withdrawn(tmp_path: Path) -> None:
    folder = tmp_path / "trials/key"
    withdraw_stop(folder)
    assert not stop_requested(folder, "", {})
    request_stop(folder)
    request_stop(folder)
    assert stop_requested(folder, "", {})
    withdraw_stop(folder)
    assert not stop_requested(folder, "", {})


def test_a_trial_does_not_look_for_a_request_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requested = watch_for_stop(tmp_path, dict)
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LOOKS", 1e9)
    assert not requested()
    request_stop(tmp_path)
    assert not requested()
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LOOKS", 0.0)
    assert requested()
