"""What stops a sweep before it trains."""

from dataclasses import replace
from pathlib import Path

import pytest
from gpu_facts import FACTS, FULL, H100

from pipeline.config.sweep_file import load_sweep
from pipeline.errors import UserError
from pipeline.hardware.device import Machine
from pipeline.hardware.gpus import GPU
from pipeline.orchestration import requirements
from pipeline.orchestration.planner import plan_sweep
from pipeline.orchestration.requirements import check_readiness

FEW = ("data.train_count=6", "data.test_count=6")


@pytest.mark.parametrize(
    ("gpu", "overrides", "said"),
    [
        (FULL, (), "GPU 0 .* is full"),
        (replace(H100, compute_mode="exclusive process"), (), "so trials cannot share it"),
        (H100, ("paths.results=results",), "paths.results: .*results is a file, not a folder"),
    ],
)
def test_a_sweep_on_cuda_is_stopped_before_it_trains(
    project: Path, monkeypatch: pytest.MonkeyPatch, gpu: GPU, overrides: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr(requirements, "find_cuda", lambda: replace(FACTS, gpus=(gpu,)))
    planned = plan_sweep(load_sweep("smoke"), [*FEW, *overrides])
    check_readiness(replace(planned, machine=Machine("cpu", "CPU", 2, 0, 8.0)))
    (project / "results").touch()
    machine = Machine("cuda", gpu.name, 16, 1, gpu.usable_gb, (gpu,))
    with pytest.raises(UserError, match=said):
        check_readiness(replace(planned, machine=machine))


@pytest.mark.usefixtures("project")
def test_a_trial_that_is_to_have_more_cores_than_the_machine_is_refused_before_anything_starts() -> None:
    planned = plan_sweep(load_sweep("smoke"), [*FEW, "compute.cpus_per_trial=3"])
    check_readiness(replace(planned, machine=Machine("cpu", "CPU", 3, 0, 8.0)))
    with pytest.raises(UserError, match=r"^compute.cpus_per_trial=3, but this machine has 2 cores"):
        check_readiness(replace(planned, machine=Machine("cpu", "CPU", 2, 0, 8.0)))
