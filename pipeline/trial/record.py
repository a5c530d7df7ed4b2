"""What a trial writes into its MLflow run: losses and scores, the final values, and tags about the device."""

import math
import platform
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from analysis.records.names import (
    Tag,
    best_metric,
    cost_metric,
    eval_metric,
    last_metric,
    source_metric,
    train_metric,
)
from pipeline.errors import UserError
from pipeline.hardware.device import device_name, resolve_device
from pipeline.hardware.mps import mps_runs
from pipeline.hardware.timing_conditions import execution_name, precision_name, timed_name
from pipeline.tracking.also import Also
from pipeline.tracking.trial_run import TrialRun
from pipeline.training.execution import resolve_execution
from pipeline.trial.job import TrialJob


def log_step(
    run: TrialRun, also: Also, step: int, losses: Callable[[], Mapping[str, Tensor]], scores: Mapping[str, float]
) -> dict[str, float]:
    """Write the mean losses since the last call, and the scores of an evaluation. Return the losses.

    Raises UserError for a loss that is not finite.
    """
    means = {name: float(values.mean()) for name, values in losses().items()}
    for name, loss in means.items():
        if not math.isfinite(loss):
            raise UserError(
                f"The training diverged: the loss {name} is {loss} at step {step}. Lower train.learning_rate or the "
                "weight of the loss."
            )
    values = {train_metric(name): loss for name, loss in means.items()}
    values |= {eval_metric(name): score for name, score in scores.items()}
    run.log(step, values)
    also.log(step, values)
    return means


def final_values(
    evaluations: Mapping[int, Mapping[str, float]],
    source: Mapping[str, float],
    costs: Mapping[str, float],
    metric: str,
    steps_per_epoch: int,
) -> dict[str, float]:
    """Return the values that tables use.

    evaluations: scores by step; 'best' is the one with the lowest `metric`. source: scores of the untranslated images.
    """
    last_step, best_step = max(evaluations), min(evaluations, key=lambda step: evaluations[step][metric])
    values: dict[str, float] = {}
    for named, step in ((last_metric, last_step), (best_metric, best_step)):
        values |= {named(score): value for score, value in evaluations[step].items()}
        values |= {named("step"): step, named("epoch"): step / steps_per_epoch}
    values |= {source_metric(name): score for name, score in source.items()}
    return values | {cost_metric(name): value for name, value in costs.items()}


def device_tags(job: TrialJob) -> dict[str, str]:
    """Return as tags what time and memory of the trial depend on, beside its settings."""
    device, share = resolve_device(job.config.compute.device), job.share
    execution = resolve_execution(job.config.train, device.type)
    name, words = device_name(device), execution_name(execution, device.type, share.processes)
    packed = f"up to {share.side_by_side} side by side" if share.packed else "alone"
    mps = device.type == "cuda" and mps_runs()
    return {
        **({Tag.MPS: "yes" if mps else "no"} if device.type == "cuda" else {}),
        Tag.DEVICE: device.type,
        Tag.DEVICE_NAME: name,
        Tag.THREADS: str(share.threads),
        Tag.GPU_PART: f"{share.gpus:g}",
        Tag.PACKED: packed,
        Tag.PRECISION: precision_name(execution, device.type),
        Tag.EXECUTION: words,
        Tag.TIMED: timed_name(name, share.threads, words, packed, mps=mps),
        Tag.HOST: platform.node(),
        Tag.PYTHON: platform.python_version(),
        Tag.TORCH: torch.__version__,
    }
