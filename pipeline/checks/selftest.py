"""Train a few steps on a GPU and on the CPU and compare the losses: eager, with CUDA graphs, and in bf16."""

import json
import math
import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from models.objective import Batch
from pipeline.checks.check import last_line, run_python
from pipeline.config.compose import compose_config
from pipeline.config.schema import Config
from pipeline.rng import rng_for
from pipeline.training.cuda_graphs import Recorder
from pipeline.training.execution import resolve_execution
from pipeline.training.loop import StepRunner
from pipeline.training.prepared_steps import prepare_step
from pipeline.training.state import build_state

Losses = dict[str, float]

# Three steps warm up, one is recorded, one is replayed (pipeline/training/cuda_graphs.py).
STEPS = 5
# Devices round differently, and training amplifies the difference at each step. On a CPU, two memory layouts differ by
# less than a tenth of these tolerances.
FIRST_STEP_TOLERANCE, LATER_TOLERANCE = 1e-3, 2e-2
# Most of the time is for starting CUDA and choosing kernels.
LIMIT_SECONDS = 180.0
SMALL = ("data.size=32", "model.generator.channels=8", "model.discriminator.channels=8", "train.channels_last=false")


def find_faults(device: torch.device, recorder: Recorder | None = None) -> list[str]:
    """Train a small CUT on the CPU, and in three ways on the device. Return what differs.

    recorder: records the steps, if the device is not CUDA.
    """
    config = compose_config(SMALL)
    # TF32 has errors of the size that this test looks for.
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        expected = run_steps(config, torch.device("cpu"))
        eager = run_steps(config, device, capturable=True)
        recorded = run_steps(config, device, capturable=True, recorder=recorder, record=True)
        bf16 = run_steps(compose_config((*SMALL, "train.precision=bf16")), device)
    finally:
        torch.backends.cudnn.allow_tf32 = before
    faults = [
        difference(f"{device} against the CPU", expected, eager),
        difference("CUDA graphs against eager steps", eager, recorded),
        difference("bf16", expected, bf16, factor=math.inf),  # only that it is finite
    ]
    return [fault for fault in faults if fault]


def run_steps(
    config: Config,
    device: torch.device,
    *,
    capturable: bool = False,
    recorder: Recorder | None = None,
    record: bool = False,
) -> list[Losses]:
    """Return the losses of a few steps, always from the same weights, images and random numbers.

    Args:
        capturable: use optimisers that can be recorded, so that eager and recorded steps are comparable.
        record: run the steps as CUDA graphs.
    """
    execution = resolve_execution(config.train, device.type)
    state = build_state(config, device, replace(execution, cuda_graphs=capturable))
    state.execution = replace(execution, cuda_graphs=record)
    runner = StepRunner(state, recorder)
    found: list[Losses] = []
    for step in range(STEPS):
        losses = runner.run(prepare_step(state, _batch(config, step), rng_for(0, "step", step)))
        found.append({name: float(loss) for name, loss in losses.items()})
    return found


def difference(what: str, expected: Sequence[Losses], found: Sequence[Losses], *, factor: float = 1.0) -> str:
    """Describe the first loss that is not finite or differs by more than the tolerance. Return '' if none does.

    factor: by which the tolerances are multiplied.
    """
    for step, (one, two) in enumerate(zip(expected, found, strict=True), start=1):
        tolerance = factor * (FIRST_STEP_TOLERANCE if step == 1 else LATER_TOLERANCE)
        for name, value in one.items():
            if not math.isclose(value, two[name], rel_tol=tolerance, abs_tol=tolerance):
                return f"{what}: loss {name} of step {step} is {two[name]:.5g} instead of {value:.5g}"
    return ""


def find_faults_in_child(uuid: str, *, seconds: float = LIMIT_SECONDS) -> list[str]:
    """Test the GPU with this UUID in a child process. A crash or a hang of the child is a fault too."""
    # As for trials, the GPU is the only one that the process sees.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": uuid}
    root = Path(__file__).parents[2]
    try:
        ended = run_python("-m", "pipeline.checks.selftest", seconds=seconds, env=environment, cwd=root)
    except subprocess.TimeoutExpired:
        return [f"no result within {seconds:g} s"]
    if ended.returncode:
        how = f"signal {-ended.returncode}" if ended.returncode < 0 else f"exit code {ended.returncode}"
        return [f"its process ended with {how} ({last_line(ended)})"]
    return json.loads(ended.stdout.splitlines()[-1])


def _batch(config: Config, step: int) -> Batch:
    rng, shape = rng_for(0, "images", step), config.data.shape
    a, b = (
        torch.rand(1, channels, shape.height, shape.width, generator=rng)
        for channels in (shape.channels_a, shape.channels_b)
    )
    return Batch(2 * a - 1, 2 * b - 1)


if __name__ == "__main__":
    print(json.dumps(find_faults(torch.device("cuda"))))
