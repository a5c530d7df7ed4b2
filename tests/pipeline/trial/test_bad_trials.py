"""What becomes of a trial in which something goes wrong."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from trial_jobs import job_of, read

from models.networks.generator import Generator
from pipeline.config.schema import Config
from pipeline.errors import UserError
from pipeline.training.background_writer import Writer
from pipeline.training.checkpoint import load_checkpoint
from pipeline.training.loop import StepReport, loss_history
from pipeline.trial import run as module
from pipeline.trial.run import run_trial


def test_a_failing_trial_says_why_in_its_run(
    project: Path, tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("out of cheese")

    monkeypatch.setattr("pipeline.training.state.build_objective", explode)
    job = job_of(tiny())
    with pytest.raises(RuntimeError):
        list(run_trial(job))
    run = read(job)
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] == "RuntimeError: out of cheese"


def test_a_training_that_diverges_stops_and_says_which_loss(
    project: Path, tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverging(reports: list[StepReport]) -> dict[str, torch.Tensor]:
        history = loss_history(reports)
        return {**history, "generator/nce_a": torch.tensor([math.nan])} if reports[-1].step > 6 else history

    monkeypatch.setattr(module, "loss_history", diverging)
    job = job_of(tiny())
    with pytest.raises(UserError):
        list(run_trial(job))
    run = read(job)
    assert run.info.status == "FAILED"
    error = run.data.tags["error"]
    assert all(fact in error for fact in ("diverged", "generator/nce_a is nan", "step 8", "train.learning_rate"))
    assert load_checkpoint(Path(job.checkpoint))["step"] == 6


def test_compiling_without_a_compiler_is_refused_in_one_line(
    project: Path, tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"train\.compile=true needs a C\+\+ compiler.*no-such-compiler"):
        list(run_trial(job_of(tiny("train.compile=true"))))


def test_a_checkpoint_that_cannot_be_written_in_the_background_ends_the_trial(
    project: Path, tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "last.pt")

    monkeypatch.setattr(module, "Writer", lambda background: Writer(background=True))
    monkeypatch.setattr("pipeline.training.checkpoint.save_checkpoint", full)
    job = job_of(tiny())
    with pytest.raises(OSError, match="No space left on device"):
        list(run_trial(job))
    run = read(job)
    assert run.info.status == "RUNNING", "the same command resumes it once there is room"
    assert "No space left on device" in run.data.tags["error"]


def test_a_collapsed_generator_is_recorded_and_trains_on(
    project: Path, tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Generator, "translate", lambda _, images: torch.zeros_like(images))
    job = job_of(tiny())
    list(run_trial(job))
    run = read(job)
    assert (run.info.status, run.data.tags["collapsed"]) == ("FINISHED", "2")
    assert "After epoch 1 all test images of A have the same translation" in capsys.readouterr().out
