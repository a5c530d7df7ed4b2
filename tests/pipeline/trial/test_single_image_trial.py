"""SinCUT on one image for each domain, through the commands: trained, resumed, planned, scored, translated."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from trial_jobs import history, job_of, read

from analysis.store.reader import read_sweep
from pipeline.__main__ import main
from pipeline.config.compose import compose_config
from pipeline.config.schema import Config
from pipeline.config.sweep_file import load_sweep
from pipeline.data.image_io import read_image
from pipeline.errors import UserError
from pipeline.orchestration.planner import plan_sweep
from pipeline.training.checkpoint import load_checkpoint
from pipeline.trial.run import run_trial

NETWORKS = (
    *("data.size=32", "model.generator.start_size=32", "model.generator.channels=1"),
    *("model.discriminator.channels=1", "model.projection_units=16"),
)
SCHEDULE = (
    *("data.crops_per_epoch=9", "train.batch_size=4", "train.constant_epochs=1", "train.decay_epochs=1"),
    *("compute.device=cpu", "compute.cpus_per_trial=1"),
)
TINY = ("task=pictures", "data.image_size=[36,48]", *NETWORKS, *SCHEDULE)
SCORES = {"sifd_small_conv", "sifd_small_conv_to_input", "identity_error"}


def tiny(*overrides: str) -> Config:
    return compose_config(["model=sincut", *TINY, *overrides])


def test_a_trial_has_whole_epochs_of_crops_and_the_scores_of_one_image(project: Path) -> None:
    job = job_of(tiny("metric.also=[edges]"), "pictures")
    reports = list(run_trial(job))
    run = read(job)
    assert [report.step for report in reports] == [2, 4]  # an epoch has 9 crops, so 2 batches of 4
    assert reports[0].steps == 4
    expected = {f"{when}/{score}" for when in ("last", "best", "source") for score in (*SCORES, "edges")}
    assert expected <= set(run.data.metrics)
    assert (run.data.tags["extractor"], run.data.tags["image_size"]) == ("small-conv-map", "36 x 48")
    assert run.data.metrics["source/sifd_small_conv_to_input"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("zoom", ["per_crop", pytest.param("per_batch", marks=pytest.mark.slow)])
def test_a_resumed_trial_of_crops_equals_an_uninterrupted_one(project: Path, zoom: str) -> None:
    whole, parts = (
        job_of(tiny(f"paths.trials={name}", f"data.zoom={zoom}"), f"pictures {name}") for name in ("whole", "parts")
    )
    list(run_trial(whole))
    list(islice(run_trial(parts), 1))  # leaves after the first epoch
    list(run_trial(parts))
    assert history(parts) == history(whole)
    one, other = (load_checkpoint(Path(job.checkpoint))["objective"] for job in (whole, parts))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_plan_counts_crops_and_the_area_of_both_images(project: Path) -> None:
    (project / "sweeps/mine.yaml").write_text(
        "name: mine\nquestion: Does it work?\nbase: [model=sincut]\nseeds: [0]\nrows: [{row: a, set: {}}]\n"
    )
    plan = plan_sweep(load_sweep("mine"), TINY)
    assert (plan.train_images, plan.steps_per_epoch, plan.metric) == (9, 2, "sifd_small_conv")
    assert plan.test_images == 4  # 2 x 36 x 48 pixels, in crops of 32 x 32
    with pytest.raises(UserError, match=r"train.batch_size is 10, but there are only 9 crops in an epoch"):
        plan_sweep(load_sweep("mine"), [*TINY, "train.batch_size=10"])


@pytest.mark.slow
def test_the_commands_work_on_two_images_of_the_user(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for part, size in (("trainA", (38, 50, 3)), ("trainB", (60, 34, 3))):
        (project / "mine" / part).mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(project / "mine" / part / "photo.png")
    data = ("task=single", "data.root=mine", "data.name=mine")
    assert main(["train", "model=sincut", *data, *NETWORKS, *SCHEDULE]) == 0
    assert "SIFD (small-conv)" in capsys.readouterr().out
    key = next((project / "trials").iterdir()).name
    assert main(["translate", key[:6], "mine/trainA/photo.png", "out.png"]) == 0
    assert "SinCUT" in capsys.readouterr().out
    assert read_image(project / "out.png").shape == (38, 50, 3)  # sides that are no multiples of 4 are kept
    assert main(["evaluate", key]) == 0
    assert set(capsys.readouterr().out.split()) >= SCORES
    assert main(["evaluate", key, "metric.extractor=small-conv"]) == 2
    assert main(["evaluate", "mine/trainA", *data]) == 2
    assert main(["evaluate", key, "compare=clean-fid"]) == 2
    (project / "mine/trainA/photo.png").unlink()
    assert main(["train", "model=sincut", *data, *NETWORKS, *SCHEDULE]) == 2
    assert "mine/trainA: 0 images found, and exactly 1 is needed" in capsys.readouterr().err


@pytest.mark.slow
def test_every_row_of_the_sweep_sincut_trains(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "sincut", *TINY, "--quiet"]) == 0
    record = read_sweep(f"sqlite:///{Path('mlflow.db').absolute()}", "sincut", "pictures")
    assert set(record.runs["status"]) == {"FINISHED"}
    assert len(record.runs) == len(load_sweep("sincut").rows)
