import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from trial_jobs import history, job_of, read

from pipeline.config.schema import Config
from pipeline.training.background_writer import Writer
from pipeline.training.checkpoint import load_checkpoint, save_checkpoint
from pipeline.trial import run as module
from pipeline.trial.run import InterruptedTrialError, run_trial


def test_a_finished_trial_leaves_all_that_tables_need(project: Path, tiny: Callable[..., Config]) -> None:
    job = job_of(tiny())
    steps = [progress.step for progress in run_trial(job)]
    run = read(job)
    assert steps == [4, 6, 8, 12]
    assert run.info.status == "FINISHED"
    expected = {
        f"{when}/{score}" for when in ("last", "best", "source") for score in ("fd_small_conv", "background_change")
    }
    expected |= {f"{when}/{unit}" for when in ("last", "best") for unit in ("step", "epoch")}
    costs = ["seconds_per_step", "seconds_per_iteration", "data_seconds_per_iteration", "device_hours"]
    costs += [f"{phase}_{kind}_gb" for phase in ("training", "evaluation") for kind in ("peak_live", "process_peak")]
    assert expected | {f"cost/{name}" for name in costs} <= set(run.data.metrics)
    assert run.data.tags["extractor"] == "small-conv"
    assert (run.data.tags["images_a"], run.data.tags["images_b"], run.data.tags["dimensions"]) == ("6", "6", "144")
    images = [file.path for file in MlflowClient(job.tracking_uri).list_artifacts(job.run_id, "images")]
    assert sum(path.endswith(".png") for path in images) == 2  # one an evaluation


def test_every_evaluation_leaves_its_scores_and_what_they_were_made_with(
    project: Path, tiny: Callable[..., Config]
) -> None:
    job = job_of(tiny())
    list(run_trial(job))
    client, scores = MlflowClient(job.tracking_uri), history(job)
    files = [file.path for file in client.list_artifacts(job.run_id, "evaluations")]
    assert files == ["evaluations/step_00000006.json", "evaluations/step_00000012.json"]
    for epoch, file in enumerate(files, start=1):
        kept = json.loads(
            Path(download_artifacts(run_id=job.run_id, artifact_path=file, tracking_uri=job.tracking_uri)).read_text()
        )
        assert (kept["step"], kept["epoch"]) == (6 * epoch, epoch)
        assert all(dict(scores[f"eval/{name}"])[6 * epoch] == score for name, score in kept["scores"].items())
        made_with = ("extractor", "weights", "layer", "resize", "images_a", "images_b", "precision", "device_name")
        assert all(kept[name] for name in made_with)


def test_progress_is_told_from_the_first_step_on_and_changes_no_record(
    project: Path, tiny: Callable[..., Config]
) -> None:
    logged, once, often = (job_of(tiny(f"paths.trials={name}"), name) for name in ("logged", "once", "often"))
    list(run_trial(logged))
    assert [progress.step for progress in run_trial(once, tell_every=3600)] == [1, 4, 6, 8, 12]
    told = list(run_trial(often, tell_every=0))
    assert [progress.step for progress in told] == [*range(1, 13)]
    assert [progress.step for progress in told if progress.scored_now] == [6, 12]
    assert all(progress.seconds_per_step > 0 for progress in told)
    assert history(often) == history(once) == history(logged)


@pytest.mark.slow
def test_compiled_networks_have_the_losses_of_others_and_the_next_trial_finds_them(
    project: Path, tiny: Callable[..., Config]
) -> None:
    # Compiling takes as long as the networks are deep.
    small = ["train.decay_epochs=0", "model.generator.blocks=1", "model.places=[down1,down2]"]
    plain = job_of(tiny(*small), "plain")
    compiled = [job_of(tiny(*small, "train.compile=true", f"seed={seed}"), f"compiled {seed}") for seed in (0, 1)]
    list(run_trial(plain))
    kernels: list[set[Path]] = []
    for job in compiled:
        list(run_trial(job))
        assert read(job).info.status == "FINISHED"
        assert "compiled" in read(job).data.tags["timed"]
        kernels.append(set(Path(".cache/compiled").rglob("*.so")))
    assert kernels[0] and kernels[1] == kernels[0]
    found = history(compiled[0])
    for name, values in history(plain).items():
        if name.startswith("train/"):
            assert dict(found[name]) == pytest.approx(dict(values), rel=1e-3), name


def test_live_peaks_are_the_same_in_every_run(project: Path, tiny: Callable[..., Config]) -> None:
    peaks: set[tuple[float, float]] = set()
    for experiment in ("first", "second", "third"):
        job = job_of(tiny(f"paths.trials={experiment}"), experiment)
        list(run_trial(job))
        metrics = read(job).data.metrics
        peaks.add((metrics["cost/training_peak_live_gb"], metrics["cost/evaluation_peak_live_gb"]))
    assert len(peaks) == 1


def test_interrupted_trial_resumes_in_its_own_run_and_ends_the_same(project: Path, tiny: Callable[..., Config]) -> None:
    whole = job_of(tiny("paths.trials=whole"), "whole")
    list(run_trial(whole))

    halves = job_of(tiny("paths.trials=halves"), "halves")
    for _ in islice(run_trial(halves), 3):  # past the checkpoint at 6, and past what was logged at 8
        pass
    assert read(halves).info.status == "RUNNING"
    assert [progress.step for progress in run_trial(halves)] == [8, 12]

    assert whole.key == halves.key
    assert history(halves) == history(whole)
    weights = [load_checkpoint(Path(name) / whole.key / "last.pt")["objective"] for name in ("whole", "halves")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    deterministic = ("last/", "best/", "source/", "cost/training_peak_live_gb")
    metrics = [
        {name: value for name, value in read(job).data.metrics.items() if name.startswith(deterministic)}
        for job in (whole, halves)
    ]
    assert metrics[0] == metrics[1]


def test_a_trial_that_writes_in_the_background_ends_the_same(
    project: Path, tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU."""
    at_once = job_of(tiny("paths.trials=at_once"), "at_once")
    list(run_trial(at_once))
    monkeypatch.setattr(module, "Writer", lambda background: Writer(background=True))
    beside = job_of(tiny("paths.trials=beside"), "beside")
    list(run_trial(beside))
    assert history(beside) == history(at_once)
    assert read(beside).info.status == "FINISHED"
    saved = [load_checkpoint(Path(job.checkpoint)) for job in (at_once, beside)]
    assert saved[0]["evaluations"] == saved[1]["evaluations"]
    assert all(torch.equal(saved[1]["objective"][name], value) for name, value in saved[0]["objective"].items())


@pytest.mark.parametrize("background", [False, True])
def test_a_score_is_recorded_before_it_is_reported(
    project: Path, tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, background: bool
) -> None:
    """A search may stop the trial by it at once."""
    monkeypatch.setattr(module, "Writer", lambda **_: Writer(background=background))
    job = job_of(tiny("train.checkpoint_every_epochs=100"))
    for progress in run_trial(job):
        if progress.scored_now:
            assert (progress.step, progress.score) in history(job)["eval/fd_small_conv"]


def test_a_trial_that_is_asked_to_stop_saves_between_two_steps_and_repeats_none(
    project: Path, tiny: Callable[..., Config]
) -> None:
    whole, stopped = job_of(tiny("paths.trials=whole"), "whole"), job_of(tiny("paths.trials=stopped"), "stopped")
    list(run_trial(whole))
    asked = iter([False, False, True])
    with pytest.raises(InterruptedTrialError, match="step 3 of 12"):
        list(run_trial(stopped, lambda: next(asked)))
    assert read(stopped).info.status == "RUNNING"
    assert load_checkpoint(Path(stopped.checkpoint))["step"] == 3
    list(run_trial(stopped))
    assert "cost/steps_repeated" not in read(stopped).data.metrics
    scores = [name for name in history(whole) if name.startswith("eval/")]
    assert [history(stopped)[name] for name in scores] == [history(whole)[name] for name in scores]


def test_a_long_epoch_is_saved_within_and_goes_on_from_there(
    project: Path, tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = job_of(tiny("paths.trials=whole"), "whole")
    list(run_trial(whole))
    often = ("paths.trials=within", "train.checkpoint_every_minutes=1e-9")
    within = job_of(tiny(*often), "within")
    for _ in islice(run_trial(within), 1):
        pass
    assert load_checkpoint(Path(within.checkpoint))["step"] == 4  # of 6 in an epoch
    assert [progress.step for progress in run_trial(within)] == [6, 8, 12]
    assert within.key == whole.key
    assert history(within) == history(whole)
    saved = [load_checkpoint(Path(job.checkpoint))["objective"] for job in (whole, within)]
    assert all(torch.equal(saved[1][name], value) for name, value in saved[0].items())


def test_a_checkpoint_of_the_first_format_resumes_and_keeps_its_sums(
    project: Path, tiny: Callable[..., Config]
) -> None:
    job = job_of(tiny())
    for _ in islice(run_trial(job), 3):
        pass
    saved = load_checkpoint(Path(job.checkpoint))
    del saved["format"], saved["meter"]
    save_checkpoint(Path(job.checkpoint), {**saved, "training_seconds": 3000.0, "evaluation_seconds": 600.0})
    assert [progress.step for progress in run_trial(job)] == [8, 12]
    costs = read(job).data.metrics
    assert 3000 < costs["cost/training_seconds"] < 3100
    assert 0.5 < costs["cost/device_hours"] < 0.55  # of a machine that carries two


def test_a_trial_stopped_before_its_record_was_closed_is_closed_without_training(
    project: Path, tiny: Callable[..., Config]
) -> None:
    job = job_of(tiny())
    for _ in islice(run_trial(job), 4):
        pass
    assert read(job).info.status == "RUNNING"
    assert list(run_trial(job)) == []
    assert read(job).info.status == "FINISHED"


def test_best_is_the_lowest_distance_and_says_when_it_was(project: Path, tiny: Callable[..., Config]) -> None:
    job = job_of(tiny("train.decay_epochs=3"))
    list(run_trial(job))
    metrics, scores = read(job).data.metrics, dict(history(job)["eval/fd_small_conv"])
    assert metrics["best/fd_small_conv"] == min(scores.values())
    assert scores[int(metrics["best/epoch"] * 6)] == metrics["best/fd_small_conv"]
    assert metrics["last/fd_small_conv"] == scores[24]


def test_evaluation_does_not_change_training(project: Path, tiny: Callable[..., Config]) -> None:
    often, once = (job_of(tiny(f"metric.every_epochs={epochs}", "train.decay_epochs=3")) for epochs in (1, 4))
    for job in (often, once):
        list(run_trial(job))
    weights = [load_checkpoint(Path("trials") / job.key / "last.pt")["objective"] for job in (often, once)]
    assert often.key != once.key
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_new_record_gets_the_whole_trial_though_a_checkpoint_is_there(
    project: Path, tiny: Callable[..., Config]
) -> None:
    first = job_of(tiny(), "first")
    list(run_trial(first))
    again = job_of(tiny(), "again")
    assert again.checkpoint == first.checkpoint
    assert [progress.step for progress in run_trial(again)] == [4, 6, 8, 12]
    assert history(again) == history(first)
