"""The record of one trial while it trains."""

import time
from collections.abc import Mapping
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from analysis.records.mlflow_client import Metric, MlflowClient
from analysis.records.names import PROGRESS_STEP, Tag
from pipeline.tracking.store import cut_tags, log_evaluation, run_tags

# Values are sent in batches, since each batch takes the store milliseconds. MLflow's limit is 1000 metrics a batch.
SECONDS_BETWEEN_BATCHES = 2.0
BATCH_METRICS = 500


class TrialRun:
    """Logs one trial. Opened again after a crash, it skips the steps that are logged, up to `last_step`."""

    def __init__(self, uri: str, run_id: str) -> None:
        self.client = MlflowClient(uri)
        self.run_id = run_id
        self.client.update_run(run_id, status="RUNNING")
        self.client.log_batch(run_id, tags=run_tags({Tag.ERROR: "", Tag.STOPPED: ""}))
        history = self.client.get_metric_history(run_id, PROGRESS_STEP)
        # A resumed trial repeats the steps after its checkpoint, whose values are logged already.
        self.last_step = max((metric.step for metric in history), default=-1)
        self._unsent: list[Metric] = []
        self._sent = time.monotonic()

    def log_evaluation(
        self, step: int, scores: Mapping[str, float], made_with: Mapping[str, object], grid: NDArray[np.uint8]
    ) -> None:
        """Log an evaluation's file and its image grid, which MLflow's UI shows with a slider over the steps."""
        if step > self.last_step:
            log_evaluation(self.client, self.run_id, step, scores, made_with, grid)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log values of a step, and that it is done, with the next batch.

        A batch is sent at most every `SECONDS_BETWEEN_BATCHES`. `flush` sends it at once.
        """
        if step <= self.last_step:
            return
        now = int(time.time() * 1000)
        values = {**values, PROGRESS_STEP: float(step)}
        self._unsent += [Metric(name, value, now, step) for name, value in values.items()]
        self.last_step = step
        if time.monotonic() - self._sent >= SECONDS_BETWEEN_BATCHES:
            self.flush()

    def flush(self) -> None:
        """Send what was logged."""
        for first in range(0, len(self._unsent), BATCH_METRICS):
            self.client.log_batch(self.run_id, metrics=self._unsent[first : first + BATCH_METRICS])
        self._unsent.clear()
        self._sent = time.monotonic()

    def finish(self, values: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Log the final values and end the run."""
        self.flush()
        now = int(time.time() * 1000)
        # The UI draws a single value at step 0 as a bar, by which it compares runs.
        metrics = [Metric(name, value, now, 0) for name, value in values.items()]
        self.client.log_batch(self.run_id, metrics=metrics, tags=run_tags(tags))
        self.client.set_terminated(self.run_id, "FINISHED")

    def fail(self, reason: str, trace: str, tags: Mapping[str, str]) -> None:
        """End the run as failed, with the reason as a tag and the traceback as an artefact."""
        with suppress(Exception):  # The reason is logged even if the store refuses the values.
            self.flush()
        self.client.log_text(self.run_id, trace, "traceback.txt")
        self.client.log_batch(self.run_id, tags=cut_tags({**tags, Tag.ERROR: reason}))
        self.client.set_terminated(self.run_id, "FAILED")
