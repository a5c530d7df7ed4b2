"""A trial's run in Weights & Biases. The only file that imports it.

WANDB_MODE is offline unless the user sets it, so nothing leaves the machine. A run gets values and settings, but no
code, no output, and no facts about the machine or the repository.
"""

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# It reads these when it is imported.
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import wandb

from pipeline.files import replacing

# To a server. A trial must not wait for one that is away.
SECONDS_TO_START = 30.0
SECONDS_TO_FINISH = 60.0
# What a lost process has not written by then is missing.
SECONDS_BETWEEN_WRITES = 2.0


class WandbRun:
    """The run whose id is the trial's key. A resumed trial continues it.

    A file in the folder has the last step that was logged. A resumed trial repeats the steps after its checkpoint, and
    does not log them again.
    """

    def __init__(
        self,
        folder: Path,
        project: str,
        key: str,
        name: str,
        settings: Mapping[str, str | int | float | bool | None],
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Its logs, which would be in the home folder.
        os.environ.setdefault("WANDB_CACHE_DIR", str(folder / "cache"))
        self._file = folder / "last_step"
        self._last = int(self._file.read_text()) if self._file.exists() else -1
        self._run = wandb.init(
            dir=str(folder),
            project=os.environ.get("WANDB_PROJECT", project),
            id=key,
            name=name,
            config=dict(settings),
            resume="allow",
            settings=wandb.Settings(
                console="off",
                host="",
                silent=True,
                disable_code=True,
                disable_git=True,
                save_code=False,
                init_timeout=SECONDS_TO_START,
                x_disable_machine_info=True,
                x_disable_meta=True,
                x_disable_stats=True,
                x_save_requirements=False,
                x_transaction_log_flush_interval=SECONDS_BETWEEN_WRITES,
            ),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if step > self._last:
            self._run.log(dict(values), step=step, commit=True)
            self._last = step
            with replacing(self._file) as partial:
                partial.write_text(str(step))

    def show(self, step: int, image: NDArray[np.uint8]) -> None:
        if step > self._last:
            self._run.log({"grid": wandb.Image(image)}, step=step, commit=False)

    def flush(self) -> None:
        """Leave this to its own process, which writes from time to time."""

    def finish(self, values: Mapping[str, float]) -> None:
        """Write the final values as the run's summary."""
        self._run.summary.update(dict(values))
        _within(SECONDS_TO_FINISH, lambda: self._run.finish(exit_code=0))

    def stop(self) -> None:
        _within(SECONDS_TO_FINISH, lambda: self._run.finish(exit_code=1))


def _within(seconds: float, call: Callable[[], None]) -> None:
    """Do what may wait for a server. Raise TimeoutError after so many seconds, and the call's own error."""
    faults: list[Exception] = []

    def do() -> None:
        try:
            call()
        except Exception as error:  # of any kind, raised again below
            faults.append(error)

    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"its server did not take everything within {seconds:g} s")
    if faults:
        raise faults[0]
