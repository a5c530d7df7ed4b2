"""One trial from its start to its end. Neither Ray nor a terminal is known here."""

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from analysis.records.names import Tag
from pipeline.errors import UserError, first_line
from pipeline.hardware.memory import is_out_of_memory
from pipeline.tracking.store import run_status
from pipeline.tracking.trial_run import TrialRun
from pipeline.trial.job import Outcome, Progress, TrialJob, job_from_json
from pipeline.trial.lock import TakenError, claimed
from pipeline.trial.record import device_tags
from pipeline.trial.session import TrialSession


def run_job(text: str, send: Callable[[Progress], None]) -> Outcome:
    """Run a trial in a process of its own. Send its progress, and return how it ended."""
    job = job_from_json(text)
    try:
        for progress in run_trial(job):
            send(progress)
        status = run_status(job.tracking_uri, job.run_id)
    except TakenError as error:
        return Outcome("taken", str(error))
    except Exception as error:  # any error: `run_trial` has written it into the MLflow run
        return Outcome("memory" if is_out_of_memory(error) else "failed", first_line(error))
    match status:
        case "KILLED":
            return Outcome("stopped", "by the search of another process")
        case "FAILED":
            return Outcome("failed", "in another process")
        case _:
            return Outcome("done")


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
    session = TrialSession(job, run)
    with session.writer:
        for report in session.train():
            scores = session.evaluate_if_due(report.step)
            session.log(report.step, scores)
            session.save_if_due(report.step)
            yield session.progress(report.step, scores)
    session.finish()
