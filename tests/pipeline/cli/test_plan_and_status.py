"""What stands below a plan's table."""

from dataclasses import replace
from pathlib import Path

from pipeline.cli.plan import _notes
from pipeline.config.sweep_file import load_sweep
from pipeline.hardware.device import Machine
from pipeline.orchestration.planner import plan_sweep


def test_a_plan_for_a_gpu_says_that_its_defaults_were_not_measured(project: Path) -> None:
    planned = plan_sweep(load_sweep("smoke"), ["compute.device=cpu"])
    on_a_gpu = replace(planned, machine=Machine("cuda", "H100", cores=16, gpus=1, memory_gb=80.0))
    line = "CUDA defaults: channels last, CUDA graphs and compiling are off; they were not measured on this card yet."
    assert line in _notes(on_a_gpu, [])
    assert line not in _notes(planned, [])
