"""One trial from its start to its end. Neither Ray nor a terminal is known here."""

import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain, islice
from pathlib import Path

from filelock import BaseFileLock
from torch import Tensor

from analysis.records.names import Tag
from models.networks.tiles import translation_of
from pipeline.config.trial_key import own_code
from pipeline.errors import UserError
from pipeline.hardware.memory import is_out_of_memory
from pipeline.metrics.names import main_metric
from pipeline.metrics.single_image.evaluator import evaluator_of
from pipeline.parallel.processes import LostProcessError
from pipeline.signals import never
from pipeline.tracking.also import Also, Start
from pipeline.tracking.trial_run import TrialRun
from pipeline.training.background_writer import Writer
from pipeline.training.checkpoint import Checkpoints, is_storage_fault
from pipeline.training.checkpoint_format import checkpoint_content, load_newest
from pipeline.training.cost_meter import CostMeter
from pipeline.training.execution import use_compile_cache
from pipeline.training.loop import StepReport, fit, loss_history
from pipeline.trial.here import at_this_node
from pipeline.trial.job import Progress, TrialJob
from pipeline.trial.lock import claimed, trial_lease
from pipeline.trial.record import device_tags, final_values, log_step
from pipeline.trial.setup import Join, joined_processes, set_up
from pipeline.trial.stop_request import watch_for_stop
from pipeline.trial.stored_trial import TrialCopy, kept_at


class EndedElsewhereError(UserError):
    """Another process has brought the trial to its end."""

    def __init__(self, status: str) -> None:
        super().__init__(f"The trial was ended by another process ({status}).")
        self.status = status


class InterruptedTrialError(UserError):
    """The trial was asked to end early, and has saved a checkpoint."""


class StopRequestedError(InterruptedTrialError):
    """`just stop` has asked. A trial that had not begun has saved nothing."""


def run_trial(
    job: TrialJob, asked_to_stop: Callable[[], bool] = never, tell_every: float = math.inf
) -> Iterator[Progress]:
    """Train from the last checkpoint, if there is one, to the end. Yield the progress; finish the MLflow run.

    asked_to_stop: asked after every step. If it returns True, a checkpoint is saved, and InterruptedTrialError raised.
    StopRequestedError is raised in the same way after a request of `just stop`, or at once if there is one already.
    tell_every: seconds. The progress is yielded whenever something is logged. With a number here it is also yielded
    after the first step, and after the next step once so much time has passed. What is logged does not change.

    An error is written into the MLflow run and raised again. The run of a trial that was killed, or whose disk is full,
    stays RUNNING, and the trial resumes from its checkpoint the next time. So it does after LostProcessError: one of
    its further processes was killed. Raises TakenError, and writes nothing, if another process trains this trial;
    raises EndedElsewhereError if one has ended it.
    """
    job = at_this_node(job)
    folder = Path(job.checkpoint).parent
    with claimed(folder, job.tracking_uri), trial_lease(job) as lease, kept_at(job.stored, folder) as copy:
        looks = watch_for_stop(folder, lease.latest_tags if lease else dict)

        def requested() -> bool:
            return looks() or copy.stop_requested()

        if requested():
            raise StopRequestedError("Not started.")
        run = TrialRun(job.tracking_uri, job.run_id, folder)
        if run.status in job.final_statuses:
            raise EndedElsewhereError(run.status)
        run.begin()
        try:
            with joined_processes(job) as join:
                yield from _train(job, run, join, copy, asked_to_stop, requested, tell_every)
        except (InterruptedTrialError, LostProcessError):
            raise
        except Exception as error:
            _record(error, run, job)
            raise


def _record(error: Exception, run: TrialRun, job: TrialJob) -> None:
    """Write why a trial ends into its run, within `except`."""
    if is_storage_fault(error):
        # The run stays open: the same command resumes the trial once there is room.
        run.note_error(str(error))
    elif isinstance(error, UserError):
        run.fail(str(error), traceback.format_exc(), {})
    else:
        # A later plan gives more memory to similar trials on this device.
        short = {Tag.OUT_OF_MEMORY_GB: f"{job.share.memory_gb:.3f}", **device_tags(job)}
        tags = short if is_out_of_memory(error) else {}
        run.fail(f"{type(error).__name__}: {error}", traceback.format_exc(), tags)


def _train(
    job: TrialJob,
    run: TrialRun,
    join: Join,
    copy: TrialCopy,
    asked_to_stop: Callable[[], bool],
    requested: Callable[[], bool],
    tell_every: float,
) -> Iterator[Progress]:
    """Train and record. Yield the progress as `run_trial` says. requested: whether `just stop` asks."""
    training = _Training(job, run, join, copy, lambda: asked_to_stop() or requested())
    told = -math.inf
    with training.also:
        with training.writer:
            for step in training.steps():
                scores: dict[str, float] = {}
                if training.log_is_due(step):
                    scores = training.evaluate_if_due(step)
                    training.log(step, scores)
                    training.save_if_due(step)
                elif time.perf_counter() - told <= tell_every:
                    continue
                told = time.perf_counter()
                yield training.progress(step, scores)
                if training.stopping:
                    break
        if training.state.step < training.total:
            ended = StopRequestedError if requested() else InterruptedTrialError
            raise ended(f"Saved at step {training.state.step} of {training.total}.")
        copy.require_stored(asked_to_stop)
        training.finish()


class _Training:
    """A trial while it trains. `_train` calls its methods in the order in which they stand here."""

    def __init__(
        self, job: TrialJob, run: TrialRun, join: Join, copy: TrialCopy, asked_to_stop: Callable[[], bool]
    ) -> None:
        self.started, self.job, self.run, self.config = time.perf_counter(), job, run, job.config
        setup = set_up(job)
        self.device, self.batches, self.state = setup.device, setup.batches, setup.state
        dataset, train = setup.dataset, self.config.train
        counts = {Tag.TRAIN_A: str(len(dataset.train_a)), Tag.TRAIN_B: str(len(dataset.train_b))}
        self.tags = {**device_tags(job), **counts}
        self.total = train.epochs * self.batches.steps_per_epoch
        saved = load_newest(Path(job.checkpoint), self.config, run.last_step, copy.fetched)
        if saved:
            self.state.load_state_dict(saved)
        self.first_step = self.state.step
        run.note_start(self.first_step)
        run.tag({Tag.STEPS: str(self.total), **({Tag.NODE: job.host} if job.host else {})})
        if code := own_code(self.config):
            run.keep_text("code.py", code.text)
        self.evaluations: dict[int, dict[str, float]] = saved.get("evaluations", {})
        self.meter = CostMeter(self.device, job.share, train.batch_size, self.tags[Tag.TIMED], saved.get("meter"))
        with self.meter.evaluation(self.state):
            self.evaluator = evaluator_of(dataset, self.config.metric, self.device, Path(job.cache))
        self.metric = main_metric(self.config.metric.extractor)
        self.writer = Writer(background=self.device.type == "cuda")
        self.checkpoints = Checkpoints(Path(job.checkpoint), train, self.writer)
        # Since the last call of `log`.
        self.unlogged: list[StepReport] = []
        # Of the last call.
        self.losses: dict[str, float] = {}
        self.asked_to_stop, self.stopping = asked_to_stop, False
        self.state.ranks = join(saved)
        start = Start(Path(job.checkpoint).parent, job.key, run.name, self.first_step)
        self.also = Also(self.config, start, lambda why: run.tag({Tag.ALSO_FAILED: why}))

    def steps(self) -> Iterator[int]:
        """Train to the end. Yield after each step."""
        reports = fit(self.state, self.batches, self.config.train, self.config.seed)
        if self.state.execution.compile:
            reports = _first_under(use_compile_cache(Path(self.job.cache), self.job.share.threads), reports)
        for report in self.meter.training(reports, self.state, self.total - self.first_step):
            self.unlogged.append(report)
            self.stopping = self.asked_to_stop()
            yield report.step

    def log_is_due(self, step: int) -> bool:
        """Return whether to log: every `log_every_steps` steps, at the end of each epoch, and when asked to stop."""
        return self.stopping or self._epoch_ends(step) or step % self.config.train.log_every_steps == 0

    def evaluate_if_due(self, step: int) -> dict[str, float]:
        """Score the test images after every `metric.every_epochs`-th epoch and the last one; else return nothing."""
        epoch = self._epochs_done(step)
        if not self._epoch_ends(step) or (epoch % self.config.metric.every_epochs and step != self.total):
            return {}
        with self.meter.evaluation(self.state, self.evaluator.resident_tensors()):
            evaluation = self.evaluator.evaluate(translation_of(self.state.objective.translator))
        self.evaluations[step] = evaluation.scores
        if evaluation.collapsed:
            # A result and no failure: some generators recover.
            print(f"After epoch {epoch} all test images of A have the same translation: the generator has collapsed.")
            self.writer.write(partial(self.run.tag, {Tag.COLLAPSED: str(epoch)}))
        made_with = {"step": step, "epoch": epoch, **evaluation.provenance, **self.tags}
        self.writer.write(partial(self.run.log_evaluation, step, evaluation.scores, made_with, evaluation.grid))
        self.writer.write(partial(self.also.show, step, evaluation.grid))
        return evaluation.scores

    def log(self, step: int, scores: dict[str, float]) -> None:
        """Log the losses since the last call, and the scores."""
        losses = self.writer.snapshot(loss_history(self.unlogged))
        self.unlogged.clear()
        self.writer.write(partial(self._log, step, losses, scores))
        if scores:
            # A search may stop the trial because of this score. The run must hold the score by then.
            self.writer.write(self.run.flush).result()

    def save_if_due(self, step: int) -> None:
        """Save a checkpoint if `Checkpoints` says so, or before the trial stops."""
        last = self.stopping or step == self.total
        if self.checkpoints.due(self._epochs_done(step), epoch_ends=self._epoch_ends(step), last=last):
            # A checkpoint ahead of its MLflow run would not be used.
            self.writer.write(self.run.flush)
            self.writer.write(self.also.flush)
            meter = self.meter.state_dict()
            self.checkpoints.save(checkpoint_content(self.config, self.state, self.evaluations, meter))

    def progress(self, step: int, scores: dict[str, float]) -> Progress:
        """Return how far the trial is. scores: those of an evaluation at this step."""
        return Progress(
            step=step,
            steps=self.total,
            first_step=self.first_step,
            seconds_per_step=self.meter.recent_seconds_per_step,
            seconds=time.perf_counter() - self.started,
            epoch=self._epochs_done(step),
            score=self.evaluations[max(self.evaluations)][self.metric] if self.evaluations else None,
            scored_now=bool(scores),
            peak_live_gb=self.meter.peaks.get("training_peak_live_gb"),
            store_silent_seconds=self.run.silent_seconds,
            epochs=self.config.train.epochs,
            losses=self.losses,
        )

    def finish(self) -> None:
        """Write the final values, and close the MLflow run."""
        with self.meter.evaluation(self.state):
            source = self.evaluator.score_source()
        costs, per_epoch = self.meter.costs(len(self.evaluations)), self.batches.steps_per_epoch
        values = final_values(self.evaluations, source, costs, self.metric, per_epoch)
        self.also.finish(values)
        self.run.finish(values, {**self.tags, **self.evaluator.provenance(len(self.evaluator.test_a))})

    def _log(self, step: int, losses: Callable[[], Mapping[str, Tensor]], scores: dict[str, float]) -> None:
        self.losses = log_step(self.run, self.also, step, losses, scores)

    def _epochs_done(self, step: int) -> int:
        return step // self.batches.steps_per_epoch

    def _epoch_ends(self, step: int) -> bool:
        return step % self.batches.steps_per_epoch == 0


def _first_under(lock: BaseFileLock, reports: Iterator[StepReport]) -> Iterator[StepReport]:
    """Hold the lock during the first step, which compiles."""
    with lock:
        first = list(islice(reports, 1))
    yield from chain(first, reports)
