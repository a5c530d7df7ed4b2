"""A trial that several processes train together: its checkpoints, and how it ends."""

import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only
from trial_jobs import history, job_of, read

from pipeline.config.schema import Config
from pipeline.hardware.share import Share
from pipeline.parallel.processes import LostProcessError
from pipeline.training.checkpoint import load_checkpoint
from pipeline.trial.job import TrialJob
from pipeline.trial.run import InterruptedTrialError, run_trial
from pipeline.trial.setup import visible_gpu

TWO = ("train.batch_size=2", "data.train_count=8", "model.negatives=[internal,external]", "model.external.warmup=255")


@pytest.fixture
def job(project: Path, tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> Callable[..., TrialJob]:
    """Make a job of two epochs with four steps each, with any number of processes."""
    torch.set_num_threads(1)

    def make(processes: int, name: str = "trials") -> TrialJob:
        config = tiny(*TWO, f"compute.gpus_per_trial={processes}", f"paths.trials={name}", "train.log_every_steps=2")
        return replace(job_of(config, name), share=Share(processes, 0.0, 1.0, 1, processes))

    return make


def further_of(pid: int) -> list[int]:
    """The further processes of a trial whose own process this is."""
    found = subprocess.run(["pgrep", "-P", str(pid), "-f", "pipeline.parallel.processes"], capture_output=True)
    return [int(line) for line in found.stdout.split()]


def saved(job: TrialJob) -> dict[str, Any]:
    return load_checkpoint(Path(job.checkpoint))


def trained(job: TrialJob) -> dict[str, Any]:
    """What a checkpoint has of the training itself."""
    return {name: part for name, part in saved(job).items() if name in ("step", "objective", "optimizers")}


def stop_after(job: TrialJob, steps: int) -> None:
    """Train so many steps, then ask the trial to end."""
    asked: list[bool] = []

    def enough() -> bool:
        asked.append(True)
        return len(asked) >= steps

    with pytest.raises(InterruptedTrialError, match=f"Saved at step {steps} of 8"):
        list(run_trial(job, enough))


@pytest.mark.slow
def test_a_resumed_run_in_two_processes_equals_an_uninterrupted_one(job: Callable[..., TrialJob]) -> None:
    whole, parts = job(2, "whole"), job(2, "parts")
    list(run_trial(whole))
    assert read(whole).info.status == "FINISHED"
    assert "in 2 processes" in read(whole).data.tags["execution"]
    stop_after(parts, 2)
    assert not further_of(os.getpid())
    list(run_trial(parts))
    assert history(parts) == history(whole)
    torch.testing.assert_close(trained(parts), trained(whole), rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_the_checkpoint_of_one_process_and_of_two_is_the_same_for_the_other(
    job: Callable[..., TrialJob], before: int, after: int
) -> None:
    first, second, whole = job(before, "first"), job(after, "second"), job(1, "whole")
    assert first.key == second.key == whole.key
    stop_after(first, 2)
    stop_after(second, 2)
    one, two = (
        tree_map_only(Tensor, lambda found: (found.shape, found.dtype), trained(job)) for job in (first, second)
    )
    assert one == two
    Path(second.checkpoint).write_bytes(Path(first.checkpoint).read_bytes())
    list(run_trial(second))
    list(run_trial(whole))
    assert read(second).info.status == "FINISHED"
    losses, expected = (dict(history(job)["train/discriminator/real"]) for job in (second, whole))
    # Rounding grows from step to step.
    assert losses[4] == pytest.approx(expected[4], rel=1e-4)
    assert losses[8] == pytest.approx(expected[8], rel=1e-2)


def test_a_killed_process_ends_the_trial_as_lost_and_the_trial_goes_on_later(job: Callable[..., TrialJob]) -> None:
    lost = job(2)
    reports = run_trial(lost)
    for _ in islice(reports, 2):  # past the checkpoint of step 4
        pass
    (further,) = further_of(os.getpid())
    os.kill(further, signal.SIGKILL)
    with pytest.raises(LostProcessError, match=r"^Process 2 of 2 of the trial ended by signal 9 \(Killed\)"):
        list(reports)
    assert read(lost).info.status == "RUNNING"
    assert saved(lost)["step"] == 4


def test_each_further_process_sees_one_gpu_of_those_that_the_trial_may_use() -> None:
    assert visible_gpu(1, {"CUDA_VISIBLE_DEVICES": "2,5,7"}) == {"CUDA_VISIBLE_DEVICES": "5"}
    assert visible_gpu(1, {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}) == {"CUDA_VISIBLE_DEVICES": "GPU-b"}
    assert visible_gpu(1, {}) == visible_gpu(1, {"CUDA_VISIBLE_DEVICES": ""}) == {"CUDA_VISIBLE_DEVICES": "1"}
