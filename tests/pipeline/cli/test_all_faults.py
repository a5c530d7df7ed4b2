"""Faults that do not depend on each other are said at once."""

from pathlib import Path

import pytest

from pipeline.__main__ import main as pipeline
from pipeline.config.sweep_file import expand, load_sweep
from pipeline.errors import UserError


def test_all_faults_of_a_sweep_are_found_at_once_and_each_is_said_once() -> None:
    settings = ["task=folder", "data.root=mine", "data.size=32", "data.load_size=36", "train.beta1=2"]
    with pytest.raises(UserError) as caught:
        expand(load_sweep("ablation_negatives"), [*settings, "model.temprature=1"])
    assert [fault[:40] for fault in caught.value.faults] == ["command line: no field is called 'model."]
    with pytest.raises(UserError) as caught:
        expand(load_sweep("ablation_negatives"), [*settings, "train.batch_size=0"])
    assert ["train.beta1" in fault or "train.batch_size" in fault for fault in caught.value.faults] == [True, True]
    with pytest.raises(UserError) as caught:
        expand(load_sweep("ablation_negatives"), [*settings[:-1], "model.discriminator.layers=5"])
    small, few = caught.value.faults
    assert "too small for discriminator.layers=5" in small and "res5 has 64 positions" in few
    assert few.endswith("(and so in 2 more rows)")


def test_missing_data_and_missing_weights_are_said_at_once(
    project: Path, offline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pipeline(["sweep", "ablation_negatives", "task=horse2zebra"]) == 2
    data, weights = capsys.readouterr().err.strip().splitlines()
    assert data == "error: data.root=datasets/horse2zebra: no such folder. Run: just data horse2zebra"
    assert "metric.weights" in weights and "metric.extractor=efficientnet-lite0" in weights


def test_faults_of_model_data_and_weights_are_said_at_once(
    project: Path, offline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("trainA", "testB"):
        (project / "here" / split).mkdir(parents=True)
    settings = ["task=folder", "data.root=here", "data.size=32", "data.load_size=32"]
    assert pipeline(["plan", "ablation_negatives", *settings]) == 2
    facts = (
        "res1 has 64 positions and res5 has 64",
        "here/trainA: 0 images found",
        "here/trainB: no such folder",
        "here/testA: no such folder",
        "here/testB: 0 images found",
        "metric.extractor=efficientnet-lite0",
    )
    for line, fact in zip(capsys.readouterr().err.strip().splitlines(), facts, strict=True):
        assert fact in line
