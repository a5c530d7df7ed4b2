"""One trial: build, resume, train, evaluate, record. Neither Ray nor a terminal is known here."""

import math
import platform
import statistics
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.build import build_objective
from pipeline.checkpoint import load_checkpoint, save_checkpoint
from pipeline.compute import resolve_device
from pipeline.data import UnpairedBatches, open_dataset
from pipeline.errors import UserError
from pipeline.evaluate import Evaluator
from pipeline.fid import metric_names
from pipeline.memory import GB, LiveTensors, cuda_peaks_gb, process_peak_gb, tensors_in
from pipeline.settings import Config, to_json
from pipeline.tracking import TrialRun
from pipeline.trainer import Schedule, StepReport, TrainState, fit, make_optimizers, mean_losses, rng_for

# The first steps of a process pay for allocations and kernel choices that later ones do not.
WARMUP_STEPS = 10


@dataclass(frozen=True)
class Progress:
    """Where a trial stands: steps done of all, seconds a step, the last score of its metric, memory so far."""

    step: int
    steps: int
    seconds_per_step: float
    score: float | None
    peak_live_gb: float | None


@dataclass(frozen=True)
class TrialJob:
    """All that a trial needs to run anywhere: its settings, its record, and where its data and checkpoint lie.

    Paths are absolute, since a worker's folder is not the user's.
    """

    config: Config
    key: str
    run_id: str
    data_folder: str
    checkpoint: str
    tracking_uri: str


@dataclass
class Meter:
    """What a running trial has measured; checkpoints keep all but the times, which belong to one process."""

    evaluations: dict[int, dict[str, float]]
    step_seconds: list[float]
    peak_live_gb: float | None = None

    @property
    def seconds_per_step(self) -> float:
        """The median, once the warm-up is over."""
        return statistics.median(self.step_seconds[WARMUP_STEPS:] or self.step_seconds or [0.0])


def run_trial(job: TrialJob) -> Iterator[Progress]:
    """Train from the last checkpoint, if there is one, to the end; yield now and then; leave a finished record.

    An error is written into the record and raised again. A killed trial leaves its record running and its
    last checkpoint in place, and goes on from there when it is run again.
    """
    record = TrialRun(job.tracking_uri, job.run_id)
    try:
        yield from _train(job, record)
    except UserError as error:
        record.fail(str(error), traceback.format_exc())
        raise
    except Exception as error:
        record.fail(f"{type(error).__name__}: {error}", traceback.format_exc())
        raise


def build_state(config: Config, device: torch.device) -> TrainState:
    """A trial's networks, initialised from its seed, and their optimisers."""
    objective = build_objective(config.model, config.data.shape, rng_for(config.seed, "weights"))
    objective.to(device)
    optimizers = make_optimizers(objective, config.train.learning_rate, (config.train.beta1, config.train.beta2))
    return TrainState(objective, optimizers)


def _train(job: TrialJob, record: TrialRun) -> Iterator[Progress]:
    config = job.config
    device = resolve_device(config.compute.device)
    torch.set_num_threads(config.compute.cpus_per_trial)
    dataset = open_dataset(Path(job.data_folder))
    batches = UnpairedBatches(dataset, config.data.size, config.train.batch_size, config.seed, device)
    schedule = Schedule(config.train.constant_epochs, config.train.decay_epochs, config.train.learning_rate)
    evaluator = Evaluator(dataset, config.metric, device)
    metric, _ = metric_names(config.metric.extractor)

    state = build_state(config, device)
    checkpoint = Path(job.checkpoint)
    meter = _resume(state, checkpoint, record)
    total = schedule.epochs * batches.steps_per_epoch
    pending: list[StepReport] = []
    for report in _measured(fit(state, batches, schedule, config.seed), state, meter):
        pending.append(report)
        epoch_ends = report.step % batches.steps_per_epoch == 0
        if not epoch_ends and report.step % config.train.log_every_steps != 0:
            continue

        losses = mean_losses(pending)
        _refuse_divergence(losses, report.step)
        values = {f"train/{name}": loss for name, loss in losses.items()}
        pending.clear()
        grid = None
        epochs_done = report.epoch + 1
        if epoch_ends and (epochs_done % config.metric.every_epochs == 0 or report.step == total):
            evaluation = evaluator.evaluate(state.objective.translator.translate)
            meter.evaluations[report.step] = evaluation.scores
            values |= {f"eval/{name}": score for name, score in evaluation.scores.items()}
            grid = evaluation.grid
        record.log(report.step, values, grid)
        if epoch_ends and (epochs_done % config.train.checkpoint_every_epochs == 0 or report.step == total):
            measured = {"evaluations": meter.evaluations, "peak_live_gb": meter.peak_live_gb}
            save_checkpoint(checkpoint, {"config": to_json(config), **state.state_dict(), **measured})
        score = meter.evaluations[max(meter.evaluations)][metric] if meter.evaluations else None
        yield Progress(report.step, total, meter.seconds_per_step, score, meter.peak_live_gb)

    source = evaluator.score_source()
    record.finish(_summary(meter, source, metric, batches.steps_per_epoch, device), _provenance(device, config))


def _resume(state: TrainState, checkpoint: Path, record: TrialRun) -> Meter:
    """Take up the checkpoint, unless it is ahead of the record: then the record is a new one and wants the whole."""
    saved = load_checkpoint(checkpoint) if checkpoint.exists() else None
    if saved is None or saved["step"] > record.last_step:
        return Meter({}, [])
    state.load_state_dict(saved)
    return Meter(saved["evaluations"], [], saved["peak_live_gb"])


def _refuse_divergence(losses: Mapping[str, float], step: int) -> None:
    for name, loss in losses.items():
        if not math.isfinite(loss):
            raise UserError(
                f"the loss {name} is {loss} by step {step}: the training diverged; lower train.learning_rate or the "
                "loss's weight"
            )


def _measured(reports: Iterator[StepReport], state: TrainState, meter: Meter) -> Iterator[StepReport]:
    """The reports, timed; on the second step, the first that finds gradients and the optimisers' state, live
    tensors are counted instead.
    """
    if (first := next(reports, None)) is None:
        return
    meter.step_seconds.append(first.seconds)
    yield first
    if meter.peak_live_gb is None:
        with LiveTensors(_held_tensors(state)) as counter:
            second = next(reports, None)
        if second is None:
            return
        meter.peak_live_gb = counter.peak_bytes / GB
        yield second
    for report in reports:
        meter.step_seconds.append(report.seconds)
        yield report


def _held_tensors(state: TrainState) -> list[torch.Tensor]:
    trained = [parameter for phase in state.objective.phases for parameter in state.objective.parameters_of(phase)]
    gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
    return [*tensors_in(state.state_dict()), *gradients]


def _summary(
    meter: Meter, source: Mapping[str, float], metric: str, steps_per_epoch: int, device: torch.device
) -> dict[str, float]:
    """The values that tables are made of. 'Best' is the evaluation of lowest distance, and when it was."""
    last = meter.evaluations[max(meter.evaluations)]
    best_step = min(meter.evaluations, key=lambda step: meter.evaluations[step][metric])
    costs = {"process_peak_gb": process_peak_gb(), "peak_live_gb": meter.peak_live_gb, **cuda_peaks_gb(device)}
    if meter.step_seconds:
        costs["seconds_per_step"] = meter.seconds_per_step
    return {
        **{f"last/{name}": score for name, score in last.items()},
        **{f"best/{name}": score for name, score in meter.evaluations[best_step].items()},
        "best/epoch": best_step / steps_per_epoch,
        **{f"source/{name}": score for name, score in source.items()},
        **{f"cost/{name}": value for name, value in costs.items() if value is not None},
    }


def _provenance(device: torch.device, config: Config) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else (platform.processor() or platform.machine())
    return {
        "device": f"{device.type} ({name})",
        "threads": str(config.compute.cpus_per_trial),
        "torch": torch.__version__,
        "extractor": config.metric.extractor,
    }
