"""TensorBoard and Weights & Biases beside MLflow: real event files and offline runs, read back."""

import importlib.machinery
import importlib.util
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import wandb_file
from trial_jobs import history, job_of, read

from pipeline.__main__ import main as pipeline
from pipeline.config.compose import compose_config
from pipeline.config.schema import Config
from pipeline.config.trial_key import trial_key
from pipeline.tracking import also as module
from pipeline.tracking.also import Also, Start
from pipeline.trial.job import TrialJob
from pipeline.trial.run import run_trial


@pytest.fixture(autouse=True)
def nothing_leaves_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_CACHE_DIR", raising=False)


def folder_of(job: TrialJob) -> Path:
    return Path(job.checkpoint).parent


def events(job: TrialJob) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder_of(job) / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    return found


def scalars(found: Any, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in found.Scalars(name)]


def wandb_runs(job: TrialJob) -> list[Path]:
    return sorted((folder_of(job) / "wandb").glob(f"wandb/offline-run-*/run-{job.key}.wandb"))


def near(values: list[tuple[int, float]]) -> list[tuple[int, Any]]:
    """Event files hold numbers of 32 bits."""
    return [(step, pytest.approx(value)) for step, value in values]


def test_tensorboard_gets_what_mlflow_gets(project: Path, tiny: Callable[..., Config]) -> None:
    pytest.importorskip("tensorboard")
    job = job_of(tiny("tracking.also=[tensorboard]"))
    list(run_trial(job))
    found, recorded = events(job), history(job)
    assert set(recorded) <= set(found.Tags()["scalars"])
    for name, values in recorded.items():
        assert scalars(found, name) == near(values)
    assert [image.step for image in found.Images("grid")] == [6, 12]
    final = read(job).data.metrics
    assert scalars(found, "last/fd_small_conv") == near([(0, final["last/fd_small_conv"])])
    assert "_hparams_/session_start_info" in found.summary_metadata


def test_a_resumed_trial_writes_no_step_twice_to_tensorboard(project: Path, tiny: Callable[..., Config]) -> None:
    """The first process has logged steps 4 to 8. The checkpoint is of step 6."""
    pytest.importorskip("tensorboard")
    job = job_of(tiny("tracking.also=[tensorboard]"))
    first = run_trial(job)
    assert [progress.step for progress in islice(first, 3)] == [4, 6, 8]
    first.close()
    assert [progress.step for progress in run_trial(job)] == [8, 12]
    files = list((folder_of(job) / "tensorboard").iterdir())
    assert len(files) == 2
    assert [step for step, _ in scalars(events(job), next(iter(history(job))))] == [4, 6, 8, 12]
    assert [image.step for image in events(job).Images("grid")] == [6, 12]


@pytest.mark.slow
def test_wandb_gets_what_mlflow_gets_and_a_resumed_trial_no_step_twice(
    project: Path, tiny: Callable[..., Config]
) -> None:
    pytest.importorskip("wandb")
    job = job_of(tiny("tracking.also=[wandb]"))
    first = run_trial(job)
    assert [progress.step for progress in islice(first, 3)] == [4, 6, 8]
    first.close()
    list(run_trial(job))
    runs, recorded = wandb_runs(job), history(job)
    assert len(runs) == 2
    for name, values in recorded.items():
        assert [value for run in runs for value in wandb_file.history(run, name)] == near(values)
    final = read(job).data.metrics
    assert wandb_file.summary(runs[-1])["last/fd_small_conv"] == pytest.approx(final["last/fd_small_conv"])
    assert wandb_file.settings(runs[0])["train.batch_size"] == 1
    for run, step in zip(runs, (6, 12), strict=True):
        assert [found for found, _ in wandb_file.history(run, "grid/path")] == [step]
        assert [file.parent.name for file in (run.parent / "files").rglob("*") if file.is_file()] == ["images"]
        (begun,) = [found.run for found in wandb_file.records(run) if found.WhichOneof("record_type") == "run"]
        assert (begun.run_id, begun.display_name, begun.project) == (job.key, "row, seed 0", "stripes")
        # Nothing about the machine and the repository, and no output.
        assert not begun.host and not begun.git.remote_url
        kinds = {found.WhichOneof("record_type") for found in wandb_file.records(run)}
        assert kinds <= {"header", "run", "telemetry", "summary", "history", "files", "exit"}


def test_a_writer_that_fails_leaves_the_trial_and_its_record_whole(
    project: Path, tiny: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    job = job_of(tiny("tracking.also=[tensorboard]"))
    folder_of(job).mkdir(parents=True)
    (folder_of(job) / "tensorboard").write_text("in the way of the folder")
    assert [progress.step for progress in run_trial(job)] == [4, 6, 8, 12]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tensorboard gets no more values: ")
    run = read(job)
    assert run.info.status == "FINISHED" and "last/fd_small_conv" in run.data.metrics
    assert run.data.tags["also_failed"] == line


class Broken:
    """A writer whose calls fail from the third step on."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def log(self, step: int, values: object) -> None:
        if step > 2:
            raise ConnectionError("gone")
        self.steps.append(step)

    def stop(self) -> None:
        raise RuntimeError("gone as well")


def test_a_writer_that_fails_later_is_told_of_once(
    tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken, told = Broken(), list[str]()
    monkeypatch.setattr(module, "_open", lambda *_: broken)
    with Also(tiny("tracking.also=[wandb]"), Start(tmp_path, "key", "row", 0), told.append) as writers:
        for step in range(1, 6):
            writers.log(step, {"train/loss": 1.0})
    assert broken.steps == [1, 2]
    assert told == ["wandb gets no more values: ConnectionError: gone"]


def test_other_writers_do_not_change_a_trials_key() -> None:
    plain, both = (
        compose_config(["task=stripes"]),
        compose_config(["task=stripes", "tracking.also=[tensorboard,wandb]"]),
    )
    assert both.tracking.also == ("tensorboard", "wandb")
    assert trial_key(plain, "data", "weights") == trial_key(both, "data", "weights")


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_library_that_is_missing_is_named_before_anything_trains(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def find(package: str) -> importlib.machinery.ModuleSpec | None:
        return None if package == name else importlib.util.find_spec(package)

    monkeypatch.setattr(module, "find_spec", find)
    assert pipeline(["train", f"tracking.also=[{name}]"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: tracking.also=[{name}]: the package is not installed. Run: pip install {name}"
    assert not Path("trials").exists()


def test_an_unknown_system_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pipeline(["plan", "smoke", "tracking.also=[comet]"]) == 2
    assert "tracking.also" in capsys.readouterr().err
