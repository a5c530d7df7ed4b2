"""`just doctor` as a user types it. tests/pipeline/checks provokes each fault."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.__main__ import main
from pipeline.checks.machine import folder_checks
from pipeline.cli.doctor import check_share, describe_share
from pipeline.config.compose import compose_config
from pipeline.hardware.device import Machine
from pipeline.hardware.share import Share

NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def doctor_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code of doctor --json, and its checks by name."""
    code = main(["doctor", "--json", *arguments])
    said = json.loads(capsys.readouterr().out)
    return code, {check["check"]: check for check in said["checks"]}


@NO_CUDA
def test_a_machine_that_is_fit_has_no_fault_and_nothing_is_written(
    project: Path, offline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = doctor_json(capsys)
    assert code == 0
    assert {check["status"] for check in found.values()} <= {"ok", "note"}
    assert all(set(check) == {"check", "status", "found", "mend"} for check in found.values())
    assert "ablation_negatives on stripes would run" in found["a sweep here"]["found"]
    assert "this task does not need it" in found["Inception's weights"]["found"]
    assert {path.name for path in project.iterdir()} == {".cache", "mlflow.db", "sweeps", "hub"}


@NO_CUDA
def test_a_person_reads_a_line_for_each_check_and_what_to_do(
    project: Path, offline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "trials").touch()
    arguments = ["compute.device=cuda", "task=horse2zebra", "tracking.uri=http://127.0.0.1:9"]
    assert main(["doctor", *arguments]) == 1
    lines = capsys.readouterr().out.splitlines()
    faults = [line for line in lines if line.startswith("fault ")]
    assert any("CUDA: torch " in line for line in faults)
    assert any("trials is a file, not a folder. Choose another folder with paths.trials=…." in line for line in faults)
    assert any("http://127.0.0.1:9: no server answers there (Connection refused)." in line for line in faults)
    assert any("cannot be reached" in line and "metric.weights" in line for line in faults)
    assert len(faults) == 4 and lines[-1].endswith("faults: 4")


def test_bad_overrides_are_refused_in_a_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "data.sizes=3"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1 and "data.sizes" in said.err


def test_a_model_that_does_not_fit_hides_no_other_check(project: Path) -> None:
    config = replace(compose_config([]), data=replace(compose_config([]).data, size=(30, 30)))
    assert {check.status for check in folder_checks(config)} == {"ok"}
    shared = check_share(config, Machine("cpu", "CPU", 2, 0, 8.0))
    assert shared.status == "note" and "does not fit the images" in shared.found


def test_a_share_is_described_in_a_line() -> None:
    gpu, cpu = Machine("cuda", "H100", 16, 2, 79.0), Machine("cpu", "EPYC", 2, 0, 25.0)
    assert describe_share(Share(2, 0.25, 19.0, 8), gpu, 3.2, "stripes") == (
        "ablation_negatives on stripes would run 8 of its 9 trials at once on 2 GPUs (H100), each with 0.25 of a GPU "
        "and 2 cores; a trial needs 3.2 GB"
    )
    assert "2 of its 9 trials at once on the CPU (EPYC), each with 1 core;" in describe_share(
        Share(1, 0.0, 12.0, 2), cpu, 0.8, "stripes"
    )
