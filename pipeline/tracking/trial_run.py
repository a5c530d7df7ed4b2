"""The record of one trial while it trains."""

import time
from collections.abc import Mapping
from contextlib import suppress

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag
from numpy.typing import NDArray

from pipeline.tracking.store import MOST_METRICS, SECONDS_BETWEEN_BATCHES, TAG_LENGTH, _log_evaluation


class TrialRun:
    """The record of one trial while it trains; opened again after a crash it goes on behind `last_step`."""

    def __init__(self, uri: str, run_id: str) -> None:
        self.client = MlflowClient(uri)
        self.run_id = run_id
        self.client.update_run(run_id, status="RUNNING")
        self.client.log_batch(run_id, tags=[RunTag("error", ""), RunTag("stopped", "")])
        history = self.client.get_metric_history(run_id, "progress/step")
        # A resumed trial walks again the steps behind its checkpoint; what they gave is already written.
        self.last_step = max((metric.step for metric in history), default=-1)
        self._unsent: list[Metric] = []
        self._sent = time.monotonic()

    def log_evaluation(
        self, step: int, scores: Mapping[str, float], made_with: Mapping[str, object], grid: NDArray[np.uint8]
    ) -> None:
        """An evaluation whole: its scores with what they were made with, as a file, and a picture that MLflow's UI
        shows with a slider over the steps."""
        if step > self.last_step:
            _log_evaluation(self.client, self.run_id, step, scores, made_with, grid)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Keep values of a step, and that it has been reached, for the next batch to the store.

        A batch is sent at most every two seconds, since each takes the store milliseconds. `flush` sends it at once.
        """
        if step <= self.last_step:
            return
        now = int(time.time() * 1000)
        marked = {**values, "progress/step": float(step)}
        self._unsent += [Metric(name, value, now, step) for name, value in marked.items()]
        self.last_step = step
        if time.monotonic() - self._sent >= SECONDS_BETWEEN_BATCHES:
            self.flush()

    def flush(self) -> None:
        """Send what was logged."""
        for first in range(0, len(self._unsent), MOST_METRICS):
            self.client.log_batch(self.run_id, metrics=self._unsent[first : first + MOST_METRICS])
        self._unsent.clear()
        self._sent = time.monotonic()

    def finish(self, values: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """The final values, and the run is done."""
        self.flush()
        now = int(time.time() * 1000)
        # A single value at step 0 is drawn as a bar, which is how the UI compares runs by it.
        metrics = [Metric(name, value, now, 0) for name, value in values.items()]
        self.client.log_batch(self.run_id, metrics=metrics, tags=[RunTag(key, value) for key, value in tags.items()])
        self.client.set_terminated(self.run_id, "FINISHED")

    def fail(self, reason: str, trace: str, tags: Mapping[str, str]) -> None:
        """The run ends as failed: the reason in a tag beside those given, the traceback as an artefact."""
        with suppress(Exception):  # values that the store refuses must not keep it from the reason
            self.flush()
        self.client.log_text(self.run_id, trace, "traceback.txt")
        failed = {**tags, "error": reason[:TAG_LENGTH]}
        self.client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in failed.items()])
        self.client.set_terminated(self.run_id, "FAILED")
