"""Predict a trial's memory and time: from similar trials that are recorded, or else from counted operations."""

import heapq
import json
import math
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from analysis.records.names import SECONDS_PER_EVALUATION, SECONDS_PER_STEP, Tag, cost_metric
from pipeline.cache import DamagedEntryError, content_key, remembered
from pipeline.config.parallel import processes_of
from pipeline.config.schema import Config
from pipeline.environment import torch_version
from pipeline.hardware.allocation import needed_gb
from pipeline.hardware.device import Machine, device_kind, device_name
from pipeline.hardware.timing_conditions import execution_in, execution_name, ran_under_mps
from pipeline.tracking.store import TrialRecord
from pipeline.training.execution import StepCost, resolve_execution


@dataclass(frozen=True)
class Prediction:
    """A number (10^9 bytes, or seconds) and its source."""

    value: float
    source: str


@dataclass(frozen=True)
class Work:
    """Remaining steps of a trial, and remaining evaluations on all test images."""

    steps: int
    evaluations: int


def remaining_work(config: Config, train_images: int, steps_done: int = 0) -> Work:
    """Return the steps and evaluations that follow those already done. train_images: of the larger domain."""
    steps_per_epoch = train_images // config.train.batch_size
    epochs = config.train.epochs
    epochs_left = range(steps_done // max(1, steps_per_epoch) + 1, epochs + 1)
    evaluations = sum(epoch % config.metric.every_epochs == 0 or epoch == epochs for epoch in epochs_left)
    return Work(epochs * steps_per_epoch - steps_done, evaluations)


def predict_memory(cost: StepCost, machine: Machine, similar: Sequence[TrialRecord], execution: str) -> Prediction:
    """Return the device memory that a trial needs (10^9 bytes).

    Only similar trials on this kind of device with the same execution count: CUDA graphs and memory layouts change how
    much memory is reserved for the same live tensors. If one of them ran out of memory, the prediction is twice its
    share, unless another one ended with more than that share.
    """
    same = [
        record
        for record in similar
        if record.tags.get(Tag.DEVICE_NAME) == machine.name and execution_in(record.tags) == execution
    ]
    counted = needed_gb(cost.live_gb, machine.device)
    too_little = max((float(record.tags.get(Tag.OUT_OF_MEMORY_GB, 0)) for record in same), default=0.0)
    peak = "peak_reserved_gb" if machine.device == "cuda" else "process_peak_gb"
    # Older trials have one peak for training and evaluation.
    peaks = tuple(cost_metric(name) for name in (f"training_{peak}", f"evaluation_{peak}", peak))
    measured = [
        record.metrics[name]
        for record in same
        for name in peaks
        if record.status == "FINISHED" and name in record.metrics
    ]
    if too_little and not any(memory > too_little for memory in measured):
        return Prediction(min(max(2 * too_little, *measured, counted), machine.memory_gb), "after running out")
    if measured:
        # CUDA's counters cover only the allocator.
        return Prediction(needed_gb(max(measured), "cuda") if machine.device == "cuda" else max(measured), "measured")
    return Prediction(counted, "counted")


def predict_seconds(
    config: Config,
    work: Work,
    operations: float,
    similar: Sequence[TrialRecord],
    threads: int,
    *,
    mps: bool = False,
    machine: Machine | None = None,
) -> Prediction:
    """Return the seconds that a trial's remaining work takes, from similar trials on this kind of device.

    Those must have the same number of threads, the same execution, and MPS if this trial has it. Without such trials:
    operations divided by the rate that this machine reaches on the trial's generator. machine: that of a cluster. Its
    rate is not known here, so without such trials the time is nan.
    """
    device = machine.device if machine else device_kind(config.compute.device)
    execution = execution_name(resolve_execution(config.train, device), device, processes_of(config.compute))
    here = {Tag.DEVICE_NAME: machine.name if machine else device_name(device), Tag.THREADS: str(threads)}
    same = [
        record.metrics
        for record in similar
        if record.status == "FINISHED"
        and here.items() <= record.tags.items()
        and (execution_in(record.tags), ran_under_mps(record.tags)) == (execution, mps)
        and {SECONDS_PER_STEP, SECONDS_PER_EVALUATION} <= set(record.metrics)
    ]
    if same:
        per_step = statistics.median(metrics[SECONDS_PER_STEP] for metrics in same)
        per_evaluation = statistics.median(metrics[SECONDS_PER_EVALUATION] for metrics in same)
        return Prediction(work.steps * per_step + work.evaluations * per_evaluation, "earlier trials")
    if machine:
        return Prediction(math.nan, "unknown")
    return Prediction(operations / _rate(config, here[Tag.DEVICE_NAME], threads), "counted")


def _rate(config: Config, device: str, threads: int) -> float:
    """Return this machine's operations per second on the trial's generator. They are measured once a day."""
    generator, shape = config.model.generator, config.data.shape
    measured_on = [device, threads, asdict(generator), asdict(shape), torch_version(), time.strftime("%Y-%m-%d")]

    def make(file: Path) -> None:
        from pipeline.training.measured_rate import measured_rate  # torch, which takes seconds to import

        file.write_text(json.dumps(measured_rate(generator, shape, config.compute.device, threads)), encoding="utf-8")

    return remembered(Path(config.paths.cache) / "rates" / f"{content_key(measured_on)}.json", make, _read_rate)


def _read_rate(file: Path) -> float:
    try:
        return float(file.read_text(encoding="utf-8"))
    except ValueError:
        raise DamagedEntryError("damaged") from None


def wall_seconds(running: Sequence[float], waiting: Iterable[float], slots: int) -> float:
    """Return the time until all trials are done.

    running: remaining seconds of the trials that run. waiting: seconds of the others, which take the next free slot in
    this order.
    """
    free_at = [*running, *[0.0] * (slots - len(running))] or [0.0]
    heapq.heapify(free_at)
    for seconds in waiting:
        heapq.heappush(free_at, heapq.heappop(free_at) + seconds)
    return max(free_at)
