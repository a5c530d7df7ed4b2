"""The work of one process on a trial: what it needs, and the parts of its training loop."""

import time
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path

from filelock import FileLock

from analysis.records.names import Tag
from pipeline.data.batches import UnpairedBatches
from pipeline.data.dataset_cache import open_dataset
from pipeline.hardware.allocation import tensors_gb
from pipeline.hardware.device import resolve_device, use_threads
from pipeline.hardware.memory import keep_freed_memory, limit_cuda
from pipeline.metrics.evaluator import Evaluator
from pipeline.metrics.names import metric_names
from pipeline.tracking.trial_run import TrialRun
from pipeline.training.background_writer import Writer
from pipeline.training.checkpoint import Checkpoints, load_checkpoint
from pipeline.training.checkpoint_format import checkpoint_content, migrate
from pipeline.training.cost_meter import CostMeter
from pipeline.training.execution import use_compile_cache
from pipeline.training.loop import StepReport, fit, loss_history
from pipeline.training.state import Schedule, build_state
from pipeline.trial.job import Progress, TrialJob
from pipeline.trial.record import device_tags, final_values, log_step


class TrialSession:
    """Sets up and resumes a trial. Its methods are the parts of the training loop in `pipeline.trial.run`."""

    def __init__(self, job: TrialJob, run: TrialRun) -> None:
        self._started = time.perf_counter()
        self._job, self._run, self._config = job, run, job.config
        self._set_up()
        self._resume()
        self._first_step = self._state.step
        # The steps since the last one that was logged.
        self._pending: list[StepReport] = []

    def _set_up(self) -> None:
        job, train = self._job, self._config.train
        self._device = resolve_device(self._config.compute.device)
        limit_cuda(self._device, tensors_gb(job.share))
        keep_freed_memory()
        use_threads(job.share.cpus)
        self._tags = device_tags(job)
        self._dataset = open_dataset(Path(job.data_folder))
        self._batches = UnpairedBatches(self._dataset, self._config.data.size, train.batch_size, self._config.seed)
        self._schedule = Schedule(train.constant_epochs, train.decay_epochs, train.learning_rate)
        self._total = self._schedule.epochs * self._batches.steps_per_epoch
        self._metric, _ = metric_names(self._config.metric.extractor)
        self._state = build_state(self._config, self._device)
        self.writer = Writer(background=self._device.type == "cuda")
        self._checkpoints = Checkpoints(Path(job.checkpoint), train, self.writer)

    def _resume(self) -> None:
        """Load the checkpoint, if there is one, and the evaluator.

        A checkpoint that is ahead of the MLflow run belongs to an earlier run. The new run must hold the whole trial,
        so training starts again.
        """
        job, file = self._job, Path(self._job.checkpoint)
        saved = migrate(load_checkpoint(file), file) if file.exists() else {}
        if saved and saved["step"] <= self._run.last_step:
            self._state.load_state_dict(saved)
        else:
            saved = {}
        self._evaluations: dict[int, dict[str, float]] = saved.get("evaluations", {})
        batch_size, timed_on = self._config.train.batch_size, self._tags[Tag.TIMED]
        self._meter = CostMeter(self._device, job.share, batch_size, timed_on, saved.get("meter"))
        with self._meter.evaluation(self._state):
            self._evaluator = Evaluator(self._dataset, self._config.metric, self._device, Path(job.cache))

    def train(self) -> Iterator[StepReport]:
        """Train to the end. Yield every `log_every_steps` steps and at the end of each epoch."""
        reports = fit(self._state, self._batches, self._schedule, self._config.seed)
        if self._state.execution.compile:
            reports = _first_under(use_compile_cache(Path(self._job.cache), self._job.share.cpus), reports)
        for report in self._meter.training(reports, self._state, self._total - self._state.step):
            self._pending.append(report)
            if self._epoch_ends(report.step) or report.step % self._config.train.log_every_steps == 0:
                yield report

    def evaluate_if_due(self, step: int) -> dict[str, float]:
        """Score the test images at the end of every `metric.every_epochs`-th epoch and of the last one.

        Return the scores, or nothing if no evaluation is due.
        """
        epoch_is_due = self._epochs_done(step) % self._config.metric.every_epochs == 0 or step == self._total
        if not (self._epoch_ends(step) and epoch_is_due):
            return {}
        with self._meter.evaluation(self._state, self._evaluator.resident_tensors()):
            evaluation = self._evaluator.evaluate(self._state.objective.translator.translate)
        self._evaluations[step] = evaluation.scores
        made_with = {"step": step, "epoch": self._epochs_done(step), **evaluation.provenance, **self._tags}
        self.writer.write(partial(self._run.log_evaluation, step, evaluation.scores, made_with, evaluation.grid))
        return evaluation.scores

    def log(self, step: int, scores: dict[str, float]) -> None:
        """Log the losses since the last call, and the scores."""
        losses = self.writer.snapshot(loss_history(self._pending))
        self._pending.clear()
        self.writer.write(partial(log_step, self._run, step, losses, scores))
        if scores:
            # A search may stop the trial because of this score. The run must hold the score by then.
            self.writer.write(self._run.flush).result()

    def save_if_due(self, step: int) -> None:
        """Save a checkpoint when `Checkpoints` says so."""
        epochs_done, epoch_ends = self._epochs_done(step), self._epoch_ends(step)
        if self._checkpoints.due(epochs_done, epoch_ends=epoch_ends, last=step == self._total):
            # A checkpoint ahead of its MLflow run would not be used.
            self.writer.write(self._run.flush)
            meter = self._meter.state_dict()
            self._checkpoints.save(checkpoint_content(self._config, self._state, self._evaluations, meter))

    def progress(self, step: int, scores: dict[str, float]) -> Progress:
        """Return how far the trial is. scores: those of an evaluation at this step."""
        return Progress(
            step=step,
            steps=self._total,
            first_step=self._first_step,
            seconds_per_step=self._meter.recent_seconds_per_step,
            seconds=time.perf_counter() - self._started,
            epoch=self._epochs_done(step),
            score=self._evaluations[max(self._evaluations)][self._metric] if self._evaluations else None,
            scored_now=bool(scores),
            peak_live_gb=self._meter.peaks.get("training_peak_live_gb"),
        )

    def finish(self) -> None:
        """Write the final values, and close the MLflow run."""
        with self._meter.evaluation(self._state):
            source = self._evaluator.score_source()
        costs = self._meter.costs(len(self._evaluations))
        values = final_values(self._evaluations, source, costs, self._metric, self._batches.steps_per_epoch)
        self._run.finish(values, {**self._tags, **self._evaluator.provenance(len(self._dataset.test_a))})

    def _epochs_done(self, step: int) -> int:
        return step // self._batches.steps_per_epoch

    def _epoch_ends(self, step: int) -> bool:
        return step % self._batches.steps_per_epoch == 0


def _first_under(lock: FileLock, reports: Iterator[StepReport]) -> Iterator[StepReport]:
    """Hold the lock during the first step, which compiles."""
    with lock:
        first = list(islice(reports, 1))
    yield from chain(first, reports)
