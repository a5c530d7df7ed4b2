"""What a trial will take before it has begun: memory and time, from trials of its like, else from counting."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from analysis.records.names import SECONDS_PER_EVALUATION, SECONDS_PER_STEP, Tag, cost_metric
from models.configs import GeneratorConfig, ImageShape
from models.networks.generator import Generator
from pipeline.config.schema import Config
from pipeline.hardware.allocation import needed_gb
from pipeline.hardware.circumstances import execution_in, execution_name, ran_under_mps
from pipeline.hardware.device import Machine, device_name, resolve_device
from pipeline.tracking.store import TrialRecord
from pipeline.training.execution import resolve_execution
from pipeline.training.step_cost import StepCost

# Measure for at least so long, and the first pass not at all: it pays for choosing kernels.
MEASURED_SECONDS = 1.0


@dataclass(frozen=True)
class Prediction:
    """A number (10^9 bytes, or seconds) and where it is from."""

    value: float
    source: str


@dataclass(frozen=True)
class ImageCounts:
    """How many images each part of a data set holds."""

    train_a: int
    train_b: int
    test_a: int
    test_b: int


@dataclass(frozen=True)
class Work:
    """What is left of a trial: steps, and evaluations on all test images."""

    steps: int
    evaluations: int


def work_left(config: Config, counts: ImageCounts, steps_done: int = 0) -> Work:
    """The steps and evaluations behind those done."""
    steps_per_epoch = max(counts.train_a, counts.train_b) // config.train.batch_size
    epochs = config.train.constant_epochs + config.train.decay_epochs
    epochs_done = steps_done // max(1, steps_per_epoch)
    evaluated = [
        epoch
        for epoch in range(epochs_done + 1, epochs + 1)
        if epoch % config.metric.every_epochs == 0 or epoch == epochs
    ]
    return Work(epochs * steps_per_epoch - steps_done, len(evaluated))


def predict_memory(cost: StepCost, machine: Machine, alike: Sequence[TrialRecord], execution: str) -> Prediction:
    """The memory of the device that a trial takes (10^9 bytes).

    Only trials on this kind of device with the same execution count, since CUDA graphs and layouts change how much
    memory is reserved for the same live tensors.

    A trial of its like that ran out of memory says that twice as much is needed, and one that ended says how much.
    """
    same = [
        record
        for record in alike
        if record.tags.get(Tag.DEVICE_NAME) == machine.name and execution_in(record.tags) == execution
    ]
    counted = needed_gb(cost.live_gb, machine.device)
    too_little = max((float(record.tags.get(Tag.OUT_OF_MEMORY_GB, 0)) for record in same), default=0.0)
    peak = "peak_reserved_gb" if machine.device == "cuda" else "process_peak_gb"
    # Older trials have one peak for all of it.
    whole = tuple(cost_metric(name) for name in (f"training_{peak}", f"evaluation_{peak}", peak))
    measured = [
        record.metrics[name]
        for record in same
        for name in whole
        if record.status == "FINISHED" and name in record.metrics
    ]
    if too_little and not any(memory > too_little for memory in measured):
        return Prediction(min(max(2 * too_little, *measured, counted), machine.memory_gb), "after running out")
    if measured:
        # CUDA's counters know the allocator alone.
        return Prediction(needed_gb(max(measured), "cuda") if machine.device == "cuda" else max(measured), "measured")
    return Prediction(counted, "counted")


def predict_seconds(
    config: Config, left: Work, operations: float, alike: Sequence[TrialRecord], threads: int, *, mps: bool = False
) -> Prediction:
    """The time that is left of a trial, from the pace of trials that took the same steps on this kind of device.

    They must have the same number of threads, the same execution, and MPS where this trial has it. Without such trials:
    operations over the rate that the machine reaches on the trial's own generator, measured now.
    """
    device = resolve_device(config.compute.device)
    execution = execution_name(resolve_execution(config.train, device.type), device.type)
    here = (device_name(device), str(threads), execution, mps)
    same = [
        record.metrics
        for record in alike
        if record.status == "FINISHED"
        and _circumstances(record.tags) == here
        and {SECONDS_PER_STEP, SECONDS_PER_EVALUATION} <= set(record.metrics)
    ]
    if same:
        per_step = statistics.median(metrics[SECONDS_PER_STEP] for metrics in same)
        per_evaluation = statistics.median(metrics[SECONDS_PER_EVALUATION] for metrics in same)
        return Prediction(left.steps * per_step + left.evaluations * per_evaluation, "earlier trials")
    rate = measured_rate(config.model.generator, config.data.shape, config.compute.device, threads)
    return Prediction(operations / rate, "counted")


def _circumstances(tags: Mapping[str, str]) -> tuple[str | None, str | None, str, bool]:
    """What a record's seconds depend on beside its work: device, threads, execution, MPS."""
    return tags.get(Tag.DEVICE_NAME), tags.get(Tag.THREADS), execution_in(tags), ran_under_mps(tags)


_rates: dict[tuple[GeneratorConfig, ImageShape, str, int], float] = {}


def measured_rate(config: GeneratorConfig, shape: ImageShape, device: str, threads: int) -> float:
    """Operations a second of this machine on the generator, forward and backward; measured once a process."""
    asked = (config, shape, device, threads)
    if asked not in _rates:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            _rates[asked] = _measure_rate(config, shape, resolve_device(device))
        finally:
            torch.set_num_threads(before)
    return _rates[asked]


def _measure_rate(config: GeneratorConfig, shape: ImageShape, device: torch.device) -> float:
    generator = Generator(config, shape.channels_a, shape.channels_b).to(device)
    image = torch.zeros(1, shape.channels_a, shape.height, shape.width, device=device)

    def run() -> None:
        generator(image)[0].sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    with FlopCounterMode(display=False) as counter:
        run()
    started, passes = time.perf_counter(), 0
    while time.perf_counter() - started < MEASURED_SECONDS:
        run()
        passes += 1
    return passes * counter.get_total_flops() / (time.perf_counter() - started)
