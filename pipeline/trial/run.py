"""One trial from its start to its end. Neither Ray nor a terminal is known here."""

import time
import traceback
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from filelock import FileLock

from analysis.records.names import Tag
from pipeline.data.batches import UnpairedBatches
from pipeline.data.dataset_cache import open_dataset
from pipeline.errors import UserError
from pipeline.hardware.allocation import tensors_gb
from pipeline.hardware.device import resolve_device, use_threads
from pipeline.hardware.memory import is_out_of_memory, keep_freed_memory, limit_cuda
from pipeline.metrics.evaluator import Evaluator
from pipeline.metrics.names import metric_names
from pipeline.tracking.store import run_status
from pipeline.tracking.trial_run import TrialRun
from pipeline.training.background_writer import Writer
from pipeline.training.checkpoint import Checkpoints, load_checkpoint
from pipeline.training.checkpoint_format import checkpoint_content, migrate
from pipeline.training.cost_meter import CostMeter
from pipeline.training.execution import use_compile_cache
from pipeline.training.loop import StepReport, fit, loss_history
from pipeline.training.state import build_state
from pipeline.trial.job import Progress, TrialJob
from pipeline.trial.lock import claimed
from pipeline.trial.record import device_tags, final_values, log_step


def run_trial(job: TrialJob) -> Iterator[Progress]:
    """Train from the last checkpoint, if there is one, to the end. Yield the progress; finish the MLflow run.

    An error is written into the MLflow run and raised again. The run of a killed trial stays RUNNING, and the trial
    resumes from its checkpoint the next time. Raises TakenError, and writes nothing, if another process trains this
    trial.
    """
    with claimed(Path(job.checkpoint).parent):
        if run_status(job.tracking_uri, job.run_id) in job.final_statuses:
            return  # another process has finished it
        run = TrialRun(job.tracking_uri, job.run_id)
        try:
            yield from _train(job, run)
        except UserError as error:
            run.fail(str(error), traceback.format_exc(), {})
            raise
        except Exception as error:
            # A later plan gives more memory to similar trials on this device.
            short = {Tag.OUT_OF_MEMORY_GB: f"{job.share.memory_gb:.3f}", **device_tags(job)}
            tags = short if is_out_of_memory(error) else {}
            run.fail(f"{type(error).__name__}: {error}", traceback.format_exc(), tags)
            raise


def _train(job: TrialJob, run: TrialRun) -> Iterator[Progress]:
    """Set up and resume the trial, train it, and close its run.

    Yield every `log_every_steps` steps and at the end of each epoch. Before each yield, in this order: evaluate if it
    is due, log, save if it is due.
    """
    started = time.perf_counter()
    config, train = job.config, job.config.train
    device, tags = resolve_device(config.compute.device), device_tags(job)
    limit_cuda(device, tensors_gb(job.share))
    keep_freed_memory()
    use_threads(job.share.cpus)
    dataset = open_dataset(Path(job.data_folder))
    batches = UnpairedBatches(dataset, config.data.size, train.batch_size, config.seed)
    total = train.epochs * batches.steps_per_epoch
    state = build_state(config, device)
    saved = _load_saved(Path(job.checkpoint), run)
    if saved:
        state.load_state_dict(saved)
    first_step = state.step
    evaluations: dict[int, dict[str, float]] = saved.get("evaluations", {})
    meter = CostMeter(device, job.share, train.batch_size, tags[Tag.TIMED], saved.get("meter"))
    with meter.evaluation(state):
        evaluator = Evaluator(dataset, config.metric, device, Path(job.cache))
    metric, _ = metric_names(config.metric.extractor)
    reports = fit(state, batches, train, config.seed)
    if state.execution.compile:
        reports = _first_under(use_compile_cache(Path(job.cache), job.share.cpus), reports)
    unlogged: list[StepReport] = []
    with Writer(background=device.type == "cuda") as writer:
        checkpoints = Checkpoints(Path(job.checkpoint), train, writer)
        for report in meter.training(reports, state, total - first_step):
            unlogged.append(report)
            step, epoch_ends = report.step, report.step % batches.steps_per_epoch == 0
            if not epoch_ends and step % train.log_every_steps:
                continue
            epochs_done = step // batches.steps_per_epoch
            # Evaluate.
            scores: dict[str, float] = {}
            if epoch_ends and (epochs_done % config.metric.every_epochs == 0 or step == total):
                with meter.evaluation(state, evaluator.resident_tensors()):
                    evaluation = evaluator.evaluate(state.objective.translator.translate)
                scores = evaluations[step] = evaluation.scores
                made_with = {"step": step, "epoch": epochs_done, **evaluation.provenance, **tags}
                writer.write(partial(run.log_evaluation, step, scores, made_with, evaluation.grid))
            # Log.
            losses = writer.snapshot(loss_history(unlogged))
            unlogged.clear()
            writer.write(partial(log_step, run, step, losses, scores))
            if scores:
                # A search may stop the trial because of this score. The run must hold the score by then.
                writer.write(run.flush).result()
            # Save.
            if checkpoints.due(epochs_done, epoch_ends=epoch_ends, last=step == total):
                # A checkpoint ahead of its MLflow run would not be used.
                writer.write(run.flush)
                checkpoints.save(checkpoint_content(config, state, evaluations, meter.state_dict()))
            # Report.
            yield Progress(
                step=step,
                steps=total,
                first_step=first_step,
                seconds_per_step=meter.recent_seconds_per_step,
                seconds=time.perf_counter() - started,
                epoch=epochs_done,
                score=evaluations[max(evaluations)][metric] if evaluations else None,
                scored_now=bool(scores),
                peak_live_gb=meter.peaks.get("training_peak_live_gb"),
            )
    # Finish.
    with meter.evaluation(state):
        source = evaluator.score_source()
    values = final_values(evaluations, source, meter.costs(len(evaluations)), metric, batches.steps_per_epoch)
    run.finish(values, {**tags, **evaluator.provenance(len(dataset.test_a))})


def _load_saved(file: Path, run: TrialRun) -> dict[str, Any]:
    """Return what the checkpoint holds; nothing if there is none, or if it is ahead of the MLflow run.

    It then belongs to an earlier run. The new run must hold the whole trial, so training starts again.
    """
    saved = migrate(load_checkpoint(file), file) if file.exists() else {}
    return saved if saved and saved["step"] <= run.last_step else {}


def _first_under(lock: FileLock, reports: Iterator[StepReport]) -> Iterator[StepReport]:
    """Hold the lock during the first step, which compiles."""
    with lock:
        first = list(islice(reports, 1))
    yield from chain(first, reports)
