"""One trial: build, resume, train, evaluate, record. Neither Ray nor a terminal is known here."""

import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from analysis.records.names import Tag, best_metric, cost_metric, eval_metric, last_metric, source_metric, train_metric
from models.build import build_objective
from models.execution import apply_execution
from pipeline.config.schema import Config, to_json
from pipeline.data.batches import UnpairedBatches
from pipeline.data.dataset_cache import open_dataset
from pipeline.errors import UserError, first_line
from pipeline.hardware.allocation import tensors_gb
from pipeline.hardware.device import device_name, execution_of, keep_compiled, resolve_device, use_threads
from pipeline.hardware.memory import is_out_of_memory, keep_freed_memory, limit_cuda
from pipeline.hardware.mps import mps_runs
from pipeline.hardware.share import Share
from pipeline.hardware.timing_conditions import execution_name, precision_name, timed_name
from pipeline.metrics.evaluator import Evaluator
from pipeline.metrics.names import metric_names
from pipeline.rng import rng_for
from pipeline.tracking.store import run_status
from pipeline.tracking.trial_run import TrialRun
from pipeline.training.background_writer import Writer
from pipeline.training.checkpoint import Checkpoints, load_checkpoint
from pipeline.training.cost_meter import Meter
from pipeline.training.loop import StepReport, fit, loss_history, mean_losses
from pipeline.training.state import Schedule, TrainState, make_optimizers
from pipeline.trial.job import Outcome, Progress, TrialJob, job_from_json
from pipeline.trial.lock import TakenError, claimed


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
        if run_status(job.tracking_uri, job.run_id) in job.final_statuses:
            return  # another process was faster
        record = TrialRun(job.tracking_uri, job.run_id)
        try:
            yield from _train(job, record)
        except UserError as error:
            record.fail(str(error), traceback.format_exc(), {})
            raise
        except Exception as error:
            # A later plan promises more to trials of its like on this device.
            short = {Tag.OUT_OF_MEMORY_GB: f"{job.share.memory_gb:.3f}", **_device_tags(job)}
            tags = short if is_out_of_memory(error) else {}
            record.fail(f"{type(error).__name__}: {error}", traceback.format_exc(), tags)
            raise


def build_state(config: Config, device: torch.device) -> TrainState:
    """A trial's networks, initialised from its seed, and their optimisers."""
    objective = build_objective(config.model, config.data.shape, rng_for(config.seed, "weights"))
    execution = execution_of(config.train, device.type)
    apply_execution(objective, execution)
    objective.to(device)
    betas = (config.train.beta1, config.train.beta2)
    optimizers = make_optimizers(objective, config.train.learning_rate, betas, execution)
    return TrainState(objective, optimizers, execution=execution)


def _train(job: TrialJob, record: TrialRun) -> Iterator[Progress]:
    started = time.perf_counter()
    config = job.config
    device = resolve_device(config.compute.device)
    limit_cuda(device, tensors_gb(job.share))
    keep_freed_memory()
    use_threads(job.share.cpus)
    dataset = open_dataset(Path(job.data_folder))
    batches = UnpairedBatches(dataset, config.data.size, config.train.batch_size, config.seed)
    schedule = Schedule(config.train.constant_epochs, config.train.decay_epochs, config.train.learning_rate)
    metric, _ = metric_names(config.metric.extractor)

    state = build_state(config, device)
    evaluations, meter = _resume(state, job, record, device)
    with meter.evaluation(state):
        evaluator = Evaluator(dataset, config.metric, device, Path(job.cache))
    first_step = state.step
    total = schedule.epochs * batches.steps_per_epoch
    pending: list[StepReport] = []
    reports = fit(state, batches, schedule, config.seed)
    if state.execution.compile:
        reports = _first_under(keep_compiled(Path(job.cache), job.share.cpus), reports)
    with Writer(beside=device.type == "cuda") as writer:
        checkpoints = Checkpoints(Path(job.checkpoint), config.train, writer)
        for report in meter.training(reports, state, total - state.step):
            pending.append(report)
            epoch_ends = report.step % batches.steps_per_epoch == 0
            if not epoch_ends and report.step % config.train.log_every_steps != 0:
                continue

            epochs_done = report.step // batches.steps_per_epoch
            losses = writer.keep(loss_history(pending))
            pending.clear()
            scores: dict[str, float] = {}
            if epoch_ends and (epochs_done % config.metric.every_epochs == 0 or report.step == total):
                with meter.evaluation(state, evaluator.resident_tensors()):
                    evaluation = evaluator.evaluate(state.objective.translator.translate)
                evaluations[report.step] = scores = evaluation.scores
                made_with = {"step": report.step, "epoch": epochs_done, **evaluation.provenance, **_device_tags(job)}
                writer.write(partial(record.log_evaluation, report.step, scores, made_with, evaluation.grid))
            writer.write(partial(_log, record, report.step, losses, scores))
            if scores:
                # Who stops a trial by this score must find it in the record.
                writer.write(record.flush).result()
            if checkpoints.due(epochs_done, epoch_ends=epoch_ends, last=report.step == total):
                kept = {"evaluations": dict(evaluations), "meter": meter.kept()}
                # A checkpoint ahead of its record would be taken for another record's.
                writer.write(record.flush)
                checkpoints.save({"config": to_json(config), **state.state_dict(), **kept})
            yield Progress(
                step=report.step,
                steps=total,
                first_step=first_step,
                seconds_per_step=meter.recent_seconds_per_step,
                seconds=time.perf_counter() - started,
                epoch=epochs_done,
                score=evaluations[max(evaluations)][metric] if evaluations else None,
                scored_now=bool(scores),
                peak_live_gb=meter.peaks.get("training_peak_live_gb"),
            )

    with meter.evaluation(state):
        source = evaluator.score_source()
    costs = meter.costs(len(evaluations))
    tags = {**_device_tags(job), **evaluator.provenance(len(dataset.test_a))}
    record.finish(_summary(evaluations, source, costs, metric, batches.steps_per_epoch), tags)


def _log(record: TrialRun, step: int, losses: Callable[[], Mapping[str, Tensor]], scores: Mapping[str, float]) -> None:
    """Write the mean losses since the last time, and an evaluation's scores. Raises UserError for a loss that is not
    finite."""
    means = mean_losses(losses())
    _refuse_divergence(means, step)
    values = {train_metric(name): loss for name, loss in means.items()}
    record.log(step, values | {eval_metric(name): score for name, score in scores.items()})


def _first_under(lock: AbstractContextManager[Any], reports: Iterator[StepReport]) -> Iterator[StepReport]:
    with lock:
        first = list(islice(reports, 1))
    yield from chain(first, reports)


def _resume(
    state: TrainState, job: TrialJob, record: TrialRun, device: torch.device
) -> tuple[dict[int, dict[str, float]], Meter]:
    """Take up the checkpoint, unless it is ahead of the record: then the record is a new one and wants the whole. Gives
    the scores by step so far, and the meter that goes on."""
    checkpoint, batch_size, timed = Path(job.checkpoint), job.config.train.batch_size, _device_tags(job)[Tag.TIMED]
    saved = load_checkpoint(checkpoint) if checkpoint.exists() else None
    if saved is None or saved["step"] > record.last_step:
        return {}, Meter(device, job.share, batch_size, timed)
    state.load_state_dict(saved)
    kept = saved.get("meter") or _earlier_meter(saved, job.share)
    return saved["evaluations"], Meter(device, job.share, batch_size, timed, kept)


def _earlier_meter(saved: Mapping[str, Any], share: Share) -> dict[str, Any]:
    """What a checkpoint from before there was a meter knows of costs; its share is taken to have been the same."""
    seconds = {name: saved.get(name, 0.0) for name in ("training_seconds", "evaluation_seconds")}
    part = share.gpus or 1 / share.slots
    return {"sums": {**seconds, "device_seconds": part * sum(seconds.values())}}


def _refuse_divergence(losses: Mapping[str, float], step: int) -> None:
    for name, loss in losses.items():
        if not math.isfinite(loss):
            raise UserError(
                f"the loss {name} is {loss} by step {step}: the training diverged; lower train.learning_rate or the "
                "loss's weight"
            )


def _summary(
    evaluations: Mapping[int, Mapping[str, float]],
    source: Mapping[str, float],
    costs: Mapping[str, float],
    metric: str,
    steps_per_epoch: int,
) -> dict[str, float]:
    """The values that tables are made of. 'Best' is the evaluation of lowest distance, and when it was."""
    last_step, best_step = max(evaluations), min(evaluations, key=lambda step: evaluations[step][metric])
    values: dict[str, float] = {}
    for named, step in ((last_metric, last_step), (best_metric, best_step)):
        values |= {named(score): value for score, value in evaluations[step].items()}
        values |= {named("step"): step, named("epoch"): step / steps_per_epoch}
    values |= {source_metric(name): score for name, score in source.items()}
    return values | {cost_metric(name): value for name, value in costs.items()}


def _device_tags(job: TrialJob) -> dict[str, str]:
    """What a trial's times and memory depend on beside its settings."""
    device = resolve_device(job.config.compute.device)
    execution = execution_name(job.config.train, device.type)
    mps = device.type == "cuda" and mps_runs()
    return {
        **({Tag.MPS: "yes" if mps else "no"} if device.type == "cuda" else {}),
        Tag.DEVICE: device.type,
        Tag.DEVICE_NAME: device_name(device),
        Tag.THREADS: str(job.share.cpus),
        Tag.GPU_PART: f"{job.share.gpus:g}",
        Tag.PACKED: _packed(job.share),
        Tag.PRECISION: precision_name(job.config.train, device.type),
        Tag.EXECUTION: execution,
        Tag.TIMED: timed_name(device_name(device), job.share.cpus, execution, _packed(job.share), mps=mps),
        Tag.TORCH: torch.__version__,
    }


def _packed(share: Share) -> str:
    return f"up to {share.side_by_side} side by side" if share.packed else "alone"
