"""The request that a trial ends early: a file in the trial's folder. `just stop` writes it, the trial looks for it."""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

STOP_FILE = "stop"
# The folder may be on a network disk, where each look takes milliseconds.
SECONDS_BETWEEN_LOOKS = 1.0


def request_stop(folder: Path) -> None:
    """Ask the trial of this folder to save and to end, or not to start."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STOP_FILE).touch()


def withdraw_stop(folder: Path) -> None:
    """Let the trial of this folder train."""
    (folder / STOP_FILE).unlink(missing_ok=True)


def stop_requested(folder: Path) -> bool:
    """Return whether the trial of this folder is asked to end. A disk that does not answer asks nothing."""
    with suppress(OSError):
        return (folder / STOP_FILE).exists()
    return False


def watch_for_stop(folder: Path) -> Callable[[], bool]:
    """Return a function that says whether the trial is asked to end. It looks at most once a second."""
    looked = -math.inf

    def requested() -> bool:
        nonlocal looked
        if time.monotonic() - looked < SECONDS_BETWEEN_LOOKS:
            return False
        looked = time.monotonic()
        return stop_requested(folder)

    return requested
