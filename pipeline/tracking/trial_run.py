"""The record of one trial while it trains. It outlives an outage of the store: see `pipeline.tracking.journal`."""

import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis.records.address import without_password
from analysis.records.names import PROGRESS_STEP, STEPS_REPEATED, Tag, cost_metric
from analysis.records.printable import printable
from analysis.store.mlflow_client import Run
from pipeline.tracking.journal import JOURNAL, Entry, metrics, read_journal, send, write_journal
from pipeline.tracking.outage import ask_through_outage, is_outage
from pipeline.tracking.store import cut_tags
from pipeline.tracking.store_client import StoreClient

# Values are sent in batches, since each batch takes the store milliseconds. A store that has too much to do gets them
# less often, so that a trial waits for a twentieth of its time, or longer if a batch takes more than three seconds.
SECONDS_BETWEEN_BATCHES, MOST_SECONDS_BETWEEN_BATCHES = 2.0, 60.0
MOST_WAITING = 1 / 20
SECONDS_BETWEEN_RETRIES = 30.0
# A trial cannot start without the store: it must know whether another process has ended it.
MOST_SECONDS_AT_START = 3600.0


class TrialRun:
    """Logs one trial. Opened again after a crash, it skips the steps that are logged, up to `last_step`.

    folder: the trial's, where records wait in a file while the store does not answer. Its process holds the lock.
    """

    def __init__(self, uri: str, run_id: str, folder: Path) -> None:
        self.run_id = run_id
        self._store, self._file = without_password(uri), folder / JOURNAL
        self.client, run, logged = ask_through_outage(partial(_open, uri, run_id), MOST_SECONDS_AT_START, _warn)
        # The store may have been moved since, which changes its address and no run.
        _, waiting_run, waiting = read_journal(self._file)
        self._unsent: deque[Entry] = waiting if waiting_run == run_id else deque()
        self.name = run.info.run_name or run_id
        # What waits in the file comes after what the store knows.
        ended = [str(entry.content["status"]) for entry in self._unsent if entry.kind == "status"]
        self.status = ended[-1] if ended else run.info.status
        # A resumed trial repeats the steps after its checkpoint, whose values are logged already.
        known = [entry.content["step"] for entry in self._unsent if entry.content.get("key") == PROGRESS_STEP]
        self.last_step = max([*logged, *known], default=-1)
        repeated = [entry.content["value"] for entry in self._unsent if entry.content.get("key") == STEPS_REPEATED]
        self._repeated = max([run.data.metrics.get(STEPS_REPEATED, 0.0), *repeated])
        self._tried = time.monotonic()
        self._pause = SECONDS_BETWEEN_BATCHES
        self._silent_since: float | None = None
        self._retry: threading.Thread | None = None
        self._refused: Exception | None = None

    @property
    def silent_seconds(self) -> float:
        """For how long the store has not answered; 0 if it answers."""
        return 0.0 if self._silent_since is None else time.monotonic() - self._silent_since

    def begin(self) -> None:
        """Record that the trial trains from now on."""
        self._unsent += [Entry("status", {"status": "RUNNING"}), Entry("tags", {Tag.ERROR: "", Tag.STOPPED: ""})]
        self.flush()

    def note_start(self, first_step: int) -> None:
        """Record how many logged steps are trained again, because the process was lost after its last checkpoint."""
        if repeated := max(0, self.last_step - first_step):
            self._repeated += repeated
            # MLflow's latest value is that of the highest step. So the count is its own step.
            self._unsent += metrics(int(self._repeated), {STEPS_REPEATED: self._repeated})

    def log_evaluation(
        self, step: int, scores: Mapping[str, float], made_with: Mapping[str, object], grid: NDArray[np.uint8]
    ) -> None:
        """Log an evaluation's file and its image grid, which MLflow's UI shows with a slider over the steps."""
        if step > self.last_step:
            content = {"step": step, "scores": scores, "made_with": made_with, "grid": grid}
            self._unsent.append(Entry("evaluation", content))

    def keep_text(self, name: str, text: str) -> None:
        """Keep a text as an artefact of the run with the next batch."""
        self._unsent.append(Entry("text", {"text": text, "artifact_file": name}))

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags with the next batch."""
        self._unsent.append(Entry("tags", tags))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log values of a step, and that it is done, with the next batch.

        A batch is sent at most every `SECONDS_BETWEEN_BATCHES`, and less often if the store is slow. `flush` sends it
        at once.
        """
        if step <= self.last_step:
            return
        self._unsent += metrics(step, {**values, PROGRESS_STEP: float(step)})
        self.last_step = step
        if time.monotonic() - self._tried >= self._pause:
            self.flush()

    def flush(self) -> None:
        """Send what was logged. If the store does not answer, write it into the trial's folder.

        From then on a thread tries again from time to time, so that the training does not wait.
        """
        if self._silent_since is None:
            self._send()
        elif not self._retrying() and time.monotonic() - self._tried >= SECONDS_BETWEEN_RETRIES:
            self._retry = threading.Thread(target=self._send, daemon=True)
            self._retry.start()
        self._keep()
        if self._refused:
            raise self._refused

    def finish(self, values: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Log the final values and end the run."""
        if self._repeated:
            values = {**values, cost_metric("steps_repeated"): self._repeated}
        # The UI draws a single value at step 0 as a bar, by which it compares runs.
        self._end([*metrics(0, values), Entry("tags", tags), Entry("status", {"status": "FINISHED"})])

    def fail(self, reason: str, trace: str, tags: Mapping[str, str]) -> None:
        """End the run as failed, with the reason as a tag and the traceback as an artefact.

        Raises nothing: the reason must not be replaced by that of the store.
        """
        self.keep_text("traceback.txt", trace)
        self._end_with_error([_error_tags(reason, tags), Entry("status", {"status": "FAILED"})])

    def note_error(self, reason: str) -> None:
        """Leave the run open, with the reason why the trial does not go on now. Raises nothing."""
        self._end_with_error([_error_tags(reason, {})])

    def _end_with_error(self, last: list[Entry]) -> None:
        try:
            self._end(last)
        except Exception as error:
            print(f"The failure could not be recorded: {error}", file=sys.stderr)

    def _end(self, last: list[Entry]) -> None:
        self._unsent += last
        if self._retry:
            self._retry.join()
        self._send()
        self._keep()
        if self._refused:
            raise self._refused

    def _send(self) -> None:
        self._tried = time.monotonic()
        try:
            send(self.client, self.run_id, self._unsent)
        except Exception as error:
            if not is_outage(error):
                self._refused = error
            elif self._silent_since is None:
                self._silent_since = self._tried
                print(f"The tracking store does not answer: {error}. Records wait in {self._file}.", file=sys.stderr)
        else:
            self._silent_since = None
            began, self._tried = self._tried, time.monotonic()
            pause = (self._tried - began) / MOST_WAITING
            self._pause = min(max(SECONDS_BETWEEN_BATCHES, pause), MOST_SECONDS_BETWEEN_BATCHES)

    def _retrying(self) -> bool:
        return self._retry is not None and self._retry.is_alive()

    def _keep(self) -> None:
        """Keep on disk what is not sent."""
        if self._unsent:
            write_journal(self._file, self._store, self.run_id, self._unsent)
        else:
            self._file.unlink(missing_ok=True)


def _error_tags(reason: str, tags: Mapping[str, str]) -> Entry:
    return Entry("tags", cut_tags({**tags, Tag.ERROR: without_password(printable(reason))}))


def _open(uri: str, run_id: str) -> tuple[StoreClient, Run, list[int]]:
    """Return a client, the run, and the steps that are logged."""
    client = StoreClient(uri)
    return client, client.get_run(run_id), [metric.step for metric in client.get_metric_history(run_id, PROGRESS_STEP)]


def _warn(seconds: float) -> None:
    print(f"The tracking store has not answered for {seconds:.0f} s.", file=sys.stderr, flush=True)
