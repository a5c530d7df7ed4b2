"""One trial: build, resume, train, evaluate, record. Neither Ray nor a terminal is known here."""

import math
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.build import build_objective
from pipeline.checkpoint import load_checkpoint, save_checkpoint
from pipeline.claim import TakenError, claimed
from pipeline.compute import device_name, resolve_device
from pipeline.data import UnpairedBatches, open_dataset
from pipeline.errors import UserError, first_line
from pipeline.evaluate import Evaluation, Evaluator
from pipeline.job import Outcome, Progress, Share, TrialJob, job_from_json
from pipeline.memory import GB, LiveTensors, cuda_peaks_gb, is_out_of_memory, limit_cuda, process_peak_gb, tensors_in
from pipeline.metrics import metric_names
from pipeline.packing import tensors_gb
from pipeline.settings import Config, to_json
from pipeline.tracking import TrialRun, run_status
from pipeline.trainer import Schedule, StepReport, TrainState, fit, make_optimizers, mean_losses, rng_for

# The first steps of a process pay for allocations and kernel choices that later ones do not.
WARMUP_STEPS = 10


@dataclass
class Meter:
    """What a running trial has measured; checkpoints keep all but the times of single steps, which belong to one
    process. training_seconds and evaluation_seconds are sums over all processes that the trial has had."""

    evaluations: dict[int, dict[str, float]]
    step_seconds: list[float]
    peak_live_gb: float | None = None
    training_seconds: float = 0.0
    evaluation_seconds: float = 0.0

    @property
    def seconds_per_step(self) -> float:
        """The median, once the warm-up is over."""
        return statistics.median(self.step_seconds[WARMUP_STEPS:] or self.step_seconds or [0.0])


def run_job(text: str, tell: Callable[[Progress], None]) -> Outcome:
    """A trial in a process of its own: tell its progress, and give how it ended."""
    job = job_from_json(text)
    try:
        for progress in run_trial(job):
            tell(progress)
        ended = run_status(job.tracking_uri, job.run_id)
    except TakenError as error:
        return Outcome("taken", str(error))
    except Exception as error:  # whatever it is, it stands in the trial's record
        return Outcome("memory" if is_out_of_memory(error) else "failed", first_line(error))
    match ended:
        case "KILLED":
            return Outcome("stopped", "by the search of another process")
        case "FAILED":
            return Outcome("failed", "in another process")
        case _:
            return Outcome("done")


def run_trial(job: TrialJob) -> Iterator[Progress]:
    """Train from the last checkpoint, if there is one, to the end; yield now and then; leave a finished record.

    An error is written into the record and raised again. A killed trial leaves its record running and its
    last checkpoint in place, and goes on from there when it is run again. Raises TakenError, and writes nothing, where
    another process trains this trial.
    """
    with claimed(Path(job.checkpoint).parent):
        if run_status(job.tracking_uri, job.run_id) in job.over:
            return  # another process was faster
        record = TrialRun(job.tracking_uri, job.run_id)
        try:
            yield from _train(job, record)
        except UserError as error:
            record.fail(str(error), traceback.format_exc(), {})
            raise
        except Exception as error:
            # A later plan promises more to trials of its like on this device.
            short = {"out_of_memory_gb": f"{job.share.memory_gb:.3f}", **_device_tags(job)}
            tags = short if is_out_of_memory(error) else {}
            record.fail(f"{type(error).__name__}: {error}", traceback.format_exc(), tags)
            raise


def build_state(config: Config, device: torch.device) -> TrainState:
    """A trial's networks, initialised from its seed, and their optimisers."""
    objective = build_objective(config.model, config.data.shape, rng_for(config.seed, "weights"))
    objective.to(device)
    optimizers = make_optimizers(objective, config.train.learning_rate, (config.train.beta1, config.train.beta2))
    return TrainState(objective, optimizers)


def _train(job: TrialJob, record: TrialRun) -> Iterator[Progress]:
    started = time.perf_counter()
    config = job.config
    device = resolve_device(config.compute.device)
    limit_cuda(device, tensors_gb(job.share))
    torch.set_num_threads(job.share.cpus)
    dataset = open_dataset(Path(job.data_folder))
    batches = UnpairedBatches(dataset, config.data.size, config.train.batch_size, config.seed, device)
    schedule = Schedule(config.train.constant_epochs, config.train.decay_epochs, config.train.learning_rate)
    clock = time.perf_counter()
    evaluator = Evaluator(dataset, config.metric, device)
    features_seconds = time.perf_counter() - clock
    metric, _ = metric_names(config.metric.extractor)

    state = build_state(config, device)
    checkpoint = Path(job.checkpoint)
    meter = _resume(state, checkpoint, record)
    meter.evaluation_seconds += features_seconds
    first_step = state.step
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
        epochs_done = report.step // batches.steps_per_epoch
        evaluation = None
        if epoch_ends and (epochs_done % config.metric.every_epochs == 0 or report.step == total):
            evaluation = _evaluate(evaluator, state, meter)
            values |= {f"eval/{name}": score for name, score in evaluation.scores.items()}
        record.log(report.step, values, evaluation.grid if evaluation else None)
        if epoch_ends and (epochs_done % config.train.checkpoint_every_epochs == 0 or report.step == total):
            save_checkpoint(checkpoint, {"config": to_json(config), **state.state_dict(), **_kept(meter)})
        yield Progress(
            step=report.step,
            steps=total,
            first_step=first_step,
            seconds_per_step=meter.seconds_per_step,
            seconds=time.perf_counter() - started,
            epoch=epochs_done,
            score=meter.evaluations[max(meter.evaluations)][metric] if meter.evaluations else None,
            scored_now=evaluation is not None,
            peak_live_gb=meter.peak_live_gb,
        )

    clock = time.perf_counter()
    source = evaluator.score_source()
    meter.evaluation_seconds += time.perf_counter() - clock
    tags = {**_device_tags(job), "extractor": config.metric.extractor}
    record.finish(_summary(meter, source, metric, batches.steps_per_epoch, device), tags)


def _evaluate(evaluator: Evaluator, state: TrainState, meter: Meter) -> Evaluation:
    started = time.perf_counter()
    evaluation = evaluator.evaluate(state.objective.translator.translate)
    meter.evaluation_seconds += time.perf_counter() - started
    meter.evaluations[state.step] = evaluation.scores
    return evaluation


def _kept(meter: Meter) -> dict[str, Any]:
    return {
        "evaluations": meter.evaluations,
        "peak_live_gb": meter.peak_live_gb,
        "training_seconds": meter.training_seconds,
        "evaluation_seconds": meter.evaluation_seconds,
    }


def _resume(state: TrainState, checkpoint: Path, record: TrialRun) -> Meter:
    """Take up the checkpoint, unless it is ahead of the record: then the record is a new one and wants the whole."""
    saved = load_checkpoint(checkpoint) if checkpoint.exists() else None
    if saved is None or saved["step"] > record.last_step:
        return Meter({}, [])
    state.load_state_dict(saved)
    # Checkpoints from before the sums were kept lack them.
    seconds = (saved.get("training_seconds", 0.0), saved.get("evaluation_seconds", 0.0))
    return Meter(saved["evaluations"], [], saved["peak_live_gb"], *seconds)


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
    _time(first, meter)
    yield first
    if meter.peak_live_gb is None:
        with LiveTensors(_held_tensors(state)) as counter:
            second = next(reports, None)
        if second is None:
            return
        meter.peak_live_gb = counter.peak_bytes / GB
        meter.training_seconds += second.seconds
        yield second
    for report in reports:
        _time(report, meter)
        yield report


def _time(report: StepReport, meter: Meter) -> None:
    meter.step_seconds.append(report.seconds)
    meter.training_seconds += report.seconds


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
    costs["training_seconds"], costs["evaluation_seconds"] = meter.training_seconds, meter.evaluation_seconds
    costs["seconds_per_evaluation"] = meter.evaluation_seconds / len(meter.evaluations)
    if meter.step_seconds:
        costs["seconds_per_step"] = meter.seconds_per_step
    return {
        **{f"last/{name}": score for name, score in last.items()},
        **{f"best/{name}": score for name, score in meter.evaluations[best_step].items()},
        "best/epoch": best_step / steps_per_epoch,
        **{f"source/{name}": score for name, score in source.items()},
        **{f"cost/{name}": value for name, value in costs.items() if value is not None},
    }


def _device_tags(job: TrialJob) -> dict[str, str]:
    """What a trial's times and memory depend on beside its settings."""
    device = resolve_device(job.config.compute.device)
    return {
        "device": device.type,
        "device_name": device_name(device),
        "threads": str(job.share.cpus),
        "gpu_part": f"{job.share.gpus:g}",
        "packed": _packed(job.share),
        "timed": f"on {device_name(device)} with {job.share.cpus} threads, {_packed(job.share)}",
        "torch": torch.__version__,
    }


def _packed(share: Share) -> str:
    return f"up to {share.slots} side by side" if share.packed else "alone"
